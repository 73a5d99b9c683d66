"""`Presence`: the people who are linked to a namespace, and the sessions in which they are typing.

It is kept in memory only and is in no log. A link that ends removes its person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nbchat.protocol import People, Person

if TYPE_CHECKING:
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.runner.kernel_link import KernelLink

TYPING_S: Final = 6.0
"""Time for which a person is typing after the last message of a page that says so."""


@dataclass(slots=True)
class _Typing:
    """The session in which a person types on one link, and the timer that ends it."""

    session_id: str
    end: asyncio.TimerHandle


class Presence:
    """Follows the links of a namespace. Only for the loop.

    Parameters
    ----------
    loop
        The loop of the links.
    show
        Sends the people to all pages; called after each change.
    """

    def __init__(self, loop: LoopThread, show: Callable[[People], None]) -> None:
        self._loop = loop
        self._show = show
        self._links: dict[KernelLink, _Typing | None] = {}
        """Links of people, oldest first."""
        self._shown = People()

    def __repr__(self) -> str:
        """Return the number of people."""
        return f"<Presence, {len(self._shown.people)} people>"

    def joined(self, link: KernelLink) -> None:
        """Add the person of a link."""
        if link.author:
            self._links[link] = None
            self._update()

    def left(self, link: KernelLink) -> None:
        """Remove a link that has ended, and with the last one its person."""
        typing = self._links.pop(link, None)
        if typing is not None:
            typing.end.cancel()
        self._update()

    def typed(self, link: KernelLink, session_id: str) -> None:
        """Note the session in which a link's person is typing; an empty id: in none."""
        if link not in self._links:
            return
        before = self._links[link]
        if before is not None:
            before.end.cancel()
        typing = None
        if session_id:
            end = self._loop.aio.call_later(TYPING_S, self.typed, link, "")
            typing = _Typing(session_id, end)
        self._links[link] = typing
        self._update()

    def _update(self) -> None:
        people: dict[str, Person] = {}
        for link, typing in self._links.items():
            name = link.author or ""
            known = people.get(name)
            if known is None or typing is not None:
                people[name] = Person(
                    name=name,
                    role=link.permissions.role,
                    typing=None if typing is None else typing.session_id,
                )
        now = People(people=tuple(people.values()))
        if now != self._shown:
            self._shown = now
            self._show(now)
