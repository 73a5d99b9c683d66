"""`MemberPermissions`: the calls and commands that the role of a person permits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nbchat.core import commands as c
from nbchat.core.errors import CommandError
from nbchat.core.kernel_commands import Command, GetOrCreateSession, SetLimits
from nbchat.service.access import Role

if TYPE_CHECKING:
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.service.quotas import Quota

_READS: Final = frozenset(
    (
        *("find", "sessions", "position", "last_asked", "stats", "request_of", "state", "streaming"),
        *("limits", "snapshot", "save", "subscribe", "unsubscribe", "profile", "ping", "restore"),
        *("open_pages", "leave"),
        "execute",  # its command is checked
    )
)
"""Functions that change nothing in the namespace. All others need an editor."""

_OF_OPERATOR: Final = frozenset({"drain", "set_journal"})
"""Functions for which the operator of the service is responsible."""

_READING: Final = (c.Viewing, c.SetView, c.ListModels)
"""Commands that change nothing in the namespace. All others need an editor."""

_OWNING: Final = (c.Delete,)
"""Commands that need an owner."""


class MemberPermissions:
    """The permissions of one person in one namespace. Implements `Permissions`.

    Parameters
    ----------
    role
        Returns the person's present role.
    find
        Returns the id of the session with an id or a title; `None` without such a session.
    quota
        The quota of the namespace.
    """

    def __init__(
        self, role: Callable[[], Role | None], find: Callable[[str], str | None], quota: Quota
    ) -> None:
        self._role = role
        self._find = find
        self._quota = quota

    @property
    def role(self) -> str:
        """The name of the person's present role; empty if the person has left."""
        role = self._role()
        return "" if role is None else role.name.lower()

    @property
    def can_change(self) -> bool:
        """True if the person is at least an editor now."""
        role = self._role()
        return role is not None and role >= Role.EDITOR

    def _need(self, needed: Role, what: str) -> None:
        role = self._role()
        if role is None:
            raise CommandError("you are no longer a member of this namespace.")
        if role < needed:
            raise CommandError(
                f"{what} needs the role {needed.name.lower()} in this namespace, and yours is "
                f"{role.name.lower()}.",
                hint="An owner of the team can ask for another role.",
            )

    def check_call(self, name: str) -> None:
        """Raise `CommandError` if the role does not permit a function."""
        if name in _OF_OPERATOR:
            raise CommandError("only the operator of the service can do this.")
        self._need(Role.VIEWER if name in _READS else Role.EDITOR, f"the call {name!r}")

    def check_command(self, command: Command) -> None:
        """Raise `CommandError` if the role or the quota does not permit a command."""
        if isinstance(command, SetLimits):
            raise CommandError("the limits of a service are set by its operator.")
        needed = Role.EDITOR
        if isinstance(command, _READING) or self._only_gets(command):
            needed = Role.VIEWER
        elif isinstance(command, _OWNING):
            needed = Role.OWNER
        self._need(needed, f"the command {command.type!r}")
        self._quota.check_command(command)

    def _only_gets(self, command: Command) -> bool:
        """Return whether a command only returns a session that exists."""
        return (
            isinstance(command, GetOrCreateSession)
            and not command.settings.changes()
            and command.provider_id is None
            and self._find(command.key) is not None
        )

    def check_batch(self, request: BatchRequest) -> None:
        """Raise `CommandError` if a batch would write a file of the service, or exceed the quota."""
        if request.journal is not None:
            raise CommandError(
                "a batch in a service keeps its answers there and cannot write to a file.",
                hint="Leave out journal=.",
            )
        self._quota.check_batch(request)
