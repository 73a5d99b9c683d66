"""`LinkedTools`: the methods of `Backend` for tools and policies, whose objects stay in this kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.errors import NbchatError, SessionGone
from nbchat.runner.link import Link, LinkLost
from nbchat.runner.tool_objects import ToolObjects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nbchat.engine.limits import Limits
    from nbchat.engine.tools import Policy, Tool
    from nbchat.runner.messages import Call

_NOTIFICATIONS: Final = frozenset({"tools_switched", "tools_replaced", "tools_unused", "policy_replaced"})
_CALLS: Final = frozenset({"check_call", "preview_call", "run_call", "cancel_call", "decide_call"})


class LinkedTools(ABC):
    """A backend that offers this kernel's tools to a runner.

    Parameters
    ----------
    limits
        The kernel's limits.
    """

    def __init__(self, limits: Limits) -> None:
        self._tools = ToolObjects(limits)

    @abstractmethod
    def _call(self, name: str, timeout_s: float | None = None, /, **args: Any) -> Any:  # noqa: ANN401 - its value
        """Call the runner."""

    @abstractmethod
    def _refuse_on_reader(self, what: str = "this call") -> None:
        """Raise `WouldDeadlock` on the thread that reads the link."""

    def tools_of(self, session_id: str) -> tuple[Tool, ...]:
        """Return the tools of a session; those of another kernel are not included."""
        return self._tools.tools_of(session_id)

    def use_tools(self, session_id: str, tools: tuple[Tool, ...]) -> None:
        """Set the tools of a session, which this kernel executes, in place of another kernel's."""
        self._refuse_on_reader()
        made = self._tools.add(session_id, tools)
        try:
            self._call("use_tools", **made.offer(), again=False)
            made.is_set = True
        except BaseException:
            self._tools.remove(made)
            raise

    def policy_of(self, session_id: str) -> Policy | None:
        """Return the policy of a session, if it is one of this kernel."""
        return self._tools.policy_of(session_id)

    def use_policy(self, session_id: str, policy: Policy | None) -> None:
        """Set the policy of a session, which is called in this kernel."""
        self._refuse_on_reader()
        policy_id = self._tools.set_policy(session_id, policy)
        try:
            self._call(
                "use_policy", session_id=session_id, policy=policy_id, is_set=policy is not None, again=False
            )
        except BaseException:
            self._tools.policy_replaced(policy_id)
            raise

    def _use_tools_again(self, link: Link) -> None:
        """Set the tools and policies of sessions again, unless another kernel has set others."""
        for tools in self._tools.current():
            try:
                tools.is_replaced = not link.call("use_tools", **tools.offer(), again=True)
            except SessionGone:
                self._tools.remove(tools)
            except (NbchatError, LinkLost):
                pass  # the next link does it
        for session_id, policy in self._tools.policies():
            with suppress(NbchatError, LinkLost):
                if not link.call("use_policy", session_id=session_id, policy=policy, is_set=True, again=True):
                    self._tools.policy_replaced(policy)

    def _took_notification(self, call: Call) -> bool:
        """Handle a notification about tools on the reading thread; return whether it was one."""
        if call.name in _NOTIFICATIONS:
            getattr(self._tools, call.name)(**call.args)
        return call.name in _NOTIFICATIONS

    def _tool_function(self, link: Link, name: str) -> Callable[..., Awaitable[Any]] | None:
        """Return the coroutine function about tool calls with this name."""
        return partial(getattr(self._tools, name), link) if name in _CALLS else None
