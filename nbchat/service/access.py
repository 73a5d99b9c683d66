"""`TokenFile` and `Teams`: who may use a service, and the roles of people in teams.

Both are files of the operator. They are read again after each change, so that a token can be revoked and a
role changed while the service runs.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from nbchat.core.errors import ConfigError

logger = logging.getLogger("nbchat")

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
_HASH: Final = "sha256:"


class Role(IntEnum):
    """The rights of a person in a namespace; each role includes those before it."""

    VIEWER = 1
    """Reads sessions."""
    EDITOR = 2
    """Also asks, stops and edits, and creates sessions."""
    OWNER = 3
    """Also deletes sessions."""


class AuthorityUnavailable(Exception):
    """People cannot be identified at present."""


class Authority(Protocol):
    """Identifies people by their tokens."""

    async def person(self, token: str) -> str | None:
        """Return the name of the person with this token; `None` if there is no such person.

        Raises
        ------
        AuthorityUnavailable
            If people cannot be identified at present.
        """
        ...

    def groups(self, person: str) -> frozenset[str]:
        """Return the groups that the person had when a token of theirs was last accepted."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


def checked_name(name: str) -> str:
    """Return a name of a team, or of a person in a file of tokens. Users of a hub can have other names.

    Raises
    ------
    ConfigError
        If it is not a valid name.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} is not a name; use up to 100 letters, digits and ._@+-, with a letter or digit first."
        )
    return name


def hash_of(token: str) -> str:
    """Return the hash of a token. Tokens are random, so a fast hash cannot be reversed."""
    return _HASH + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class _Watched(Generic[T]):
    """The value of a file, which is parsed again when the file has changed."""

    def __init__(
        self, path: Path, parse: Callable[[str], T], parse_again: Callable[[str], T] | None = None
    ) -> None:
        self.path = path
        self._parse = parse_again or parse
        self._stamp = self._stamp_now()
        self._value: T = parse(path.read_text("utf-8"))

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    @property
    def value(self) -> T:
        """The value; an earlier one if the file cannot be read, which is logged once."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._value = self._parse(self.path.read_text("utf-8"))
            except (OSError, UnicodeDecodeError, ConfigError) as error:
                logger.warning("%s stays in force as it was, since it cannot be read: %s", self.path, error)
        return self._value


class TokenFile:
    """Tokens of people, as hashes: a line for each, with a name and a hash. Implements `Authority`.

    When the file has changed, its invalid lines are skipped and logged, so that the other changes apply, such
    as the removal of a token.

    Raises
    ------
    OSError
        If the file cannot be read.
    ConfigError
        If a line is invalid.
    """

    def __init__(self, path: Path) -> None:
        self._hashes = _Watched(path, _hashes_in, _valid_hashes_in)

    def __repr__(self) -> str:
        """Return the path."""
        return f"<TokenFile {self._hashes.path}>"

    async def person(self, token: str) -> str | None:
        """Return the name of the person with this token."""
        return self._hashes.value.get(hash_of(token))

    def groups(self, person: str) -> frozenset[str]:  # noqa: ARG002 - a file of tokens has no groups
        """Return no group."""
        return frozenset()

    async def close(self) -> None:
        """Release nothing: the file is not kept open."""


def _hashes_in(text: str) -> Mapping[str, str]:
    return dict(one for number, line in enumerate(text.splitlines(), 1) for one in _hash_in(number, line))


def _valid_hashes_in(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.update(_hash_in(number, line))
        except ConfigError:  # its text could contain a token
            logger.warning("line %d of the file of tokens is skipped: it is not a name and a hash", number)
    return found


def _hash_in(number: int, line: str) -> Sequence[tuple[str, str]]:
    """Return the hash in a line and the name of its person, if any."""
    fields = line.split()
    if not fields or fields[0].startswith("#"):
        return ()
    if len(fields) != 2 or not fields[1].startswith(_HASH):  # noqa: PLR2004 - a name and a hash
        raise ConfigError(f"line {number} of the file of tokens is not a name and a hash.")
    return ((fields[1], checked_name(fields[0])),)


def new_token(path: Path, person: str) -> str:
    """Add a token of a person to a file, which is created if necessary, and return the token.

    Raises
    ------
    ConfigError
        If the name is invalid.
    OSError
        If the file cannot be written.
    """
    checked_name(person)
    token = f"nbchat-{secrets.token_urlsafe(32)}"
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
    with os.fdopen(descriptor, "a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        separator = "" if file.read() in (b"", b"\n") else "\n"  # an editor may leave the last line open
        file.write(f"{separator}{person} {hash_of(token)}\n".encode())
    return token


class Teams:
    """The teams of a service and the roles of their members, from a TOML file with a table for each team.

    A member is a person, or with `@` a group of people.

    Raises
    ------
    OSError
        If the file cannot be read.
    ConfigError
        If it is invalid.

    Examples
    --------
    ::

        [geo]
        ada = "owner"
        bob = "viewer"
        "@students" = "viewer"
    """

    def __init__(self, path: Path | None) -> None:
        self._roles = None if path is None else _Watched(path, _roles_in)

    def __repr__(self) -> str:
        """Return the number of teams."""
        return f"<Teams, {0 if self._roles is None else len(self._roles.value)}>"

    def role(self, team: str, person: str, groups: Collection[str] = ()) -> Role | None:
        """Return the highest role of a person and their groups in a team.

        `None` without such a team or membership.
        """
        members = {} if self._roles is None else self._roles.value.get(team, {})
        # A person whose name begins with @ is not a group.
        names = (*((person,) if not person.startswith("@") else ()), *(f"@{group}" for group in groups))
        return max((members[name] for name in names if name in members), default=None)


def _roles_in(text: str) -> Mapping[str, Mapping[str, Role]]:
    known = {role.name.lower(): role for role in Role}
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the file of teams is not valid TOML: {error}.") from error
    teams: dict[str, dict[str, Role]] = {}
    for team, members in tables.items():
        if not isinstance(members, dict):
            raise ConfigError(f"{team!r} in the file of teams is not a table of names and roles.")
        for person, role in members.items():
            if not isinstance(role, str) or role not in known:
                raise ConfigError(
                    f"the role of {person!r} in the team {team!r} must be one of {', '.join(known)}, "
                    f"not {role!r}."
                )
            if not person.strip():
                raise ConfigError(f"a member of the team {team!r} has no name.")
            teams.setdefault(checked_name(team), {})[person] = known[role]
    return teams
