"""`Permissions`: decides which calls and commands a linked kernel may make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.core.kernel_commands import Command


class Permissions(Protocol):
    """Decides which calls a kernel may make."""

    @property
    def role(self) -> str:
        """The role of the kernel's person; empty if there are no roles."""
        ...

    @property
    def can_change(self) -> bool:
        """True if the kernel may change sessions."""
        ...

    def check_call(self, name: str) -> None:
        """Raise `CommandError` if the kernel may not call a function."""
        ...

    def check_command(self, command: Command) -> None:
        """Raise `CommandError` if the kernel, or a page of it, may not execute a command."""
        ...

    def check_batch(self, request: BatchRequest) -> None:
        """Raise `CommandError` if the kernel may not start a batch."""
        ...


class _FullAccess:
    """Permits everything: the kernel belongs to the user of the runner. Implements `Permissions`."""

    role = ""
    can_change = True

    def check_call(self, name: str) -> None:
        """Permit a call."""

    def check_command(self, command: Command) -> None:
        """Permit a command."""

    def check_batch(self, request: BatchRequest) -> None:
        """Permit a batch."""


FULL_ACCESS: Final[Permissions] = _FullAccess()
"""The permissions of a kernel of the same user."""
