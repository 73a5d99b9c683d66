"""`LatePages`: the last messages of pages whose messages wait for the running cell."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from nbchat.protocol import GetAsset, Hello, PageMessage, RunCommand, Sync

KEPT: Final = 256
"""Messages that are kept of all late pages; commands and requests for files are dropped first."""


class LatePages:
    """Keeps messages whose answers a page may have missed, so that they can be answered again.

    A host without a control channel, Colab for example, may drop packets while no cell runs.
    """

    def __init__(self) -> None:
        self._messages: OrderedDict[tuple[str, str], Hello | Sync | RunCommand | GetAsset] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._messages)

    def __contains__(self, page: str) -> bool:
        return any(one == page for one, _ in self._messages)

    def note(self, message: PageMessage, *, late: bool) -> None:
        """Keep a message that came late. A page with one that did not is no late page any more."""
        if not late:
            for key in [key for key in self._messages if key[0] == message.page]:
                del self._messages[key]
        elif isinstance(message, Hello | Sync):
            self._messages[message.page, ""] = message
        elif isinstance(message, RunCommand):
            self._messages[message.page, message.command.id] = message
        elif isinstance(message, GetAsset):
            self._messages[message.page, message.name] = message
        while len(self._messages) > KEPT:
            others = (key for key, kept in self._messages.items() if not isinstance(kept, Hello | Sync))
            del self._messages[next(others, next(iter(self._messages)))]

    def take(self, sessions: Mapping[str, int]) -> list[PageMessage]:
        """Return the messages to answer again, with `sessions` requested by every page.

        Commands and requests for files are returned once, the last `hello` or `sync` of a page each time.
        """
        kept = list(self._messages.items())
        taken: list[PageMessage] = []
        for key, message in kept:
            if isinstance(message, Hello | Sync):
                taken.append(replace(message, sessions={**sessions, **message.sessions}))
            else:
                del self._messages[key]
                taken.append(message)
        return taken
