"""`PageRequests`: answers the questions of pages, such as a search or an export."""

from __future__ import annotations

import asyncio
import pathlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nbchat.core.errors import NbchatError, StaleCommand
from nbchat.core.transcript import SessionState
from nbchat.protocol import (
    Asset,
    Connect,
    Connected,
    Exported,
    GetAsset,
    KernelMessage,
    Search,
    SearchResults,
    WantDescribed,
    WantEarlier,
    WantExport,
    WantVariables,
)
from nbchat.wire.failures import info_of
from nbchat.wire.search import search
from nbchat.wire.session_messages import earlier_messages, head_of

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession
    from nbchat.wire.served_kernel import ServedKernel

STATIC: Final = pathlib.Path(__file__).parent.parent / "static"
"""Directory of the page's bundles."""

KEPT_ANSWERS: Final = 16
"""Answers to `connect` that are kept, for when their requests are repeated."""

Request = GetAsset | Search | WantVariables | WantDescribed | WantEarlier | WantExport | Connect
Variables = Callable[[WantVariables | WantDescribed], KernelMessage | None]


class PageRequests:
    """Answers requests, each for the page that sent it. For the engine's loop; long work runs on threads.

    A page repeats a request until it is answered.

    Parameters
    ----------
    engine
        The engine whose sessions are read.
    kernel
        The kernel of the pages.
    say
        Sends a message to the pages.
    variables
        Answers requests about the notebook's variables; called on a separate thread.
    """

    def __init__(
        self,
        engine: Engine,
        kernel: ServedKernel,
        say: Callable[[KernelMessage], None],
        variables: Variables,
    ) -> None:
        self._engine = engine
        self._kernel = kernel
        self._say = say
        self._variables = variables
        self._searches: dict[str, str] = {}
        """Id of each page's newest search that is not answered yet."""
        self._describing: set[tuple[str, str]] = set()
        """Page and id of each pending request about variables."""
        self._working: set[str] = set()
        """Ids of the exports and tests of servers in progress."""
        self._connected: OrderedDict[str, Connected] = OrderedDict()
        """Answers that are kept, for a request whose answer was lost: a test is not made twice."""

    def receive(self, message: Request) -> None:
        """Answer a request, or start to answer it."""
        loop = self._engine.loop
        match message:
            case GetAsset():
                text = (STATIC / f"{message.name}.js").read_text(encoding="utf-8")
                self._say(Asset(to=message.page, name=message.name, text=text))
            case WantEarlier():
                self._earlier(message)
            case Search():
                self._searches[message.page] = message.id
                loop.spawn(self._search(message), name="nbchat-search")
            case WantVariables() | WantDescribed():
                if message.epoch == self._kernel.epoch:
                    loop.spawn(self._answer_about_variables(message), name="nbchat-variables")
            case Connect() if message.id in self._connected:
                self._say(self._connected[message.id])
            case WantExport() | Connect():
                if message.id not in self._working:
                    self._working.add(message.id)
                    work = (
                        self._export(message) if isinstance(message, WantExport) else self._connect(message)
                    )
                    loop.spawn(work, name=f"nbchat-{message.type}")

    def _earlier(self, message: WantEarlier) -> None:
        try:
            state = self._engine.session(message.session_id).state
        except NbchatError:
            return
        self._say(earlier_messages(state, message))

    async def _search(self, message: Search) -> None:
        """Search on a separate thread, while sessions continue."""
        listed = [session for session in self._engine.sessions if not session.state.temporary]
        # Sessions in memory first; evicted ones are loaded while there is time.
        listed.sort(key=lambda session: (session.evicted, -head_of(session).active_at))

        def is_wanted() -> bool:
            return self._searches.get(message.page) == message.id

        states = [self._reader_of(session) for session in listed]
        result = await asyncio.to_thread(search, message.query, states, is_wanted=is_wanted)
        if is_wanted():
            del self._searches[message.page]
            self._say(SearchResults(to=message.page, id=message.id, hits=result.hits, more=result.more))

    async def _answer_about_variables(self, message: WantVariables | WantDescribed) -> None:
        key = (message.page, message.id)
        if key in self._describing:
            return
        self._describing.add(key)
        try:
            answer = await asyncio.to_thread(self._variables, message)
        finally:
            self._describing.discard(key)
        if answer is not None:
            self._say(answer)

    def _reader_of(self, session: LiveSession) -> Callable[[], SessionState]:
        """Return a function that returns the state, which it may read from the journal on any thread."""
        eviction = self._engine.eviction
        if session.evicted:
            outline = eviction.outlined(session)
            return lambda: eviction.stored(outline).state
        held = session.state
        return lambda: held

    async def _export(self, message: WantExport) -> None:
        """Make an export on a thread, because that can take seconds."""
        try:
            read = self._reader_of(self._engine.session(message.session_id))
            answer = await asyncio.to_thread(_exported, message, read)
        except Exception as error:  # noqa: BLE001 - the page shows it
            info = info_of(error, "a session could not be exported")
            answer = Exported(to=message.page, id=message.id, error=info)
        finally:
            self._working.discard(message.id)
        self._say(answer)

    async def _connect(self, message: Connect) -> None:
        """Try or choose a server."""
        try:
            answer = await self._connection(message)
        except Exception as error:  # noqa: BLE001 - the page shows it
            info = info_of(error, "a page's connect failed")
            answer = Connected(to=message.page, id=message.id, error=info)
        finally:
            self._working.discard(message.id)
        self._connected[message.id] = answer
        while len(self._connected) > KEPT_ANSWERS:
            self._connected.popitem(last=False)
        self._say(answer)

    async def _connection(self, message: Connect) -> Connected:
        if message.epoch != self._kernel.epoch:
            raise StaleCommand("the kernel was restarted since this was asked.", hint="Try again.")
        if message.action in ("use", "reset"):
            self._engine.presence.last_actor = message.page
        return await self._kernel.choose_server(message)


def _exported(message: WantExport, read: Callable[[], SessionState]) -> Exported:
    from nbchat.export import render, slug  # noqa: PLC0415 - its parsers are needed for exports only

    state = read()
    name = f"{slug(state.title)}.{message.format}"
    return Exported(to=message.page, id=message.id, name=name, text=render([state], message.format))
