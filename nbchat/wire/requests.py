"""`PageRequests`: answers the questions of pages, such as a search or an export."""

from __future__ import annotations

import pathlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
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

MAX_PENDING: Final = 64
"""Requests of one kernel's pages that are in progress; others are ignored until a page repeats them."""

LongRequest = Search | WantVariables | WantDescribed | WantExport | Connect
Request = GetAsset | WantEarlier | LongRequest
Variables = Callable[[WantVariables | WantDescribed], Awaitable[KernelMessage | None]]


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
        Answers requests about the notebook's variables.
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
        self._pending: set[tuple[str, str]] = set()
        """Page and id of each request whose answer is in progress."""
        self._connected: OrderedDict[str, Connected] = OrderedDict()
        """Answers that are kept, for a request whose answer was lost: a test is not made twice."""

    def receive(self, message: Request) -> None:
        """Answer a request, or start to answer it unless this is in progress."""
        match message:
            case GetAsset():
                text = (STATIC / f"{message.name}.js").read_text(encoding="utf-8")
                self._say(Asset(to=message.page, name=message.name, text=text))
            case WantEarlier():
                self._earlier(message)
            case WantVariables() | WantDescribed() if message.epoch != self._kernel.epoch:
                pass  # the page connects to this kernel and asks again
            case Connect() if message.id in self._connected:
                self._say(self._connected[message.id])
            case _ if len(self._pending) < MAX_PENDING and (message.page, message.id) not in self._pending:
                self._pending.add((message.page, message.id))
                if isinstance(message, Search):
                    self._searches[message.page] = message.id
                self._engine.loop.spawn(self._answer(message), name=f"nbchat-{message.type}")

    async def _answer(self, message: LongRequest) -> None:
        answer: KernelMessage | None
        try:
            match message:
                case Search():
                    answer = await self._search(message)
                case WantExport():
                    answer = await self._export(message)
                case Connect():
                    answer = await self._connect(message)
                case _:
                    answer = await self._variables(message)
        finally:
            self._pending.discard((message.page, message.id))
        if answer is not None:
            self._say(answer)

    def _earlier(self, message: WantEarlier) -> None:
        try:
            state = self._engine.session(message.session_id).state
        except NbchatError:
            return
        self._say(earlier_messages(state, message))

    async def _search(self, message: Search) -> SearchResults | None:
        """Search on a separate thread, while sessions continue; `None` if the page has sent a newer one."""
        listed = [session for session in self._engine.sessions if not session.state.temporary]
        # Sessions in memory first; evicted ones are loaded while there is time.
        listed.sort(key=lambda session: (session.evicted, -head_of(session).active_at))

        def is_wanted() -> bool:
            return self._searches.get(message.page) == message.id

        states = [self._reader_of(session) for session in listed]
        result = await self._engine.in_thread(search, message.query, states, is_wanted=is_wanted)
        if not is_wanted():
            return None
        del self._searches[message.page]
        return SearchResults(to=message.page, id=message.id, hits=result.hits, more=result.more)

    def _reader_of(self, session: LiveSession) -> Callable[[], SessionState]:
        """Return a function that returns the state, which it may read from the journal on any thread."""
        eviction = self._engine.eviction
        if session.evicted:
            outline = eviction.outlined(session)
            return lambda: eviction.stored(outline).state
        held = session.state
        return lambda: held

    async def _export(self, message: WantExport) -> Exported:
        """Make an export on a thread, because that can take seconds."""
        try:
            read = self._reader_of(self._engine.session(message.session_id))
            return await self._engine.in_thread(_exported, message, read)
        except Exception as error:  # noqa: BLE001 - the page shows it
            info = info_of(error, "a session could not be exported")
            return Exported(to=message.page, id=message.id, error=info)

    async def _connect(self, message: Connect) -> Connected:
        """Try or choose a server, and keep the answer."""
        try:
            answer = await self._connection(message)
        except Exception as error:  # noqa: BLE001 - the page shows it
            info = info_of(error, "a page's connect failed")
            answer = Connected(to=message.page, id=message.id, error=info)
        self._connected[message.id] = answer
        while len(self._connected) > KEPT_ANSWERS:
            self._connected.popitem(last=False)
        return answer

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
