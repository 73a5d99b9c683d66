"""`NoTools`: the methods of `Backend` for tools, where the engine runs in another process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbchat.core.errors import CommandError

if TYPE_CHECKING:
    from nbchat.engine.tools import Policy, Tool


class NoTools:
    """A backend whose engine cannot execute functions of this kernel."""

    def tools_of(self, _session_id: str) -> tuple[Tool, ...]:
        """Return an empty tuple."""
        return ()

    def use_tools(self, _session_id: str, tools: tuple[Tool, ...]) -> None:
        """Refuse tools; an empty tuple changes nothing."""
        if tools:
            _refuse()

    def policy_of(self, _session_id: str) -> Policy | None:
        """Return `None`."""
        return None

    def use_policy(self, _session_id: str, policy: Policy | None) -> None:
        """Refuse a policy; `None` changes nothing."""
        if policy is not None:
            _refuse()


def _refuse() -> None:
    raise CommandError(
        "tools cannot be used while answers are generated in a runner.",
        hint="Restart the kernel without NBCHAT_RUNNER=local or nbchat.config(runner='local').",
    )
