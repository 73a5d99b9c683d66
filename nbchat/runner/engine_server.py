"""`EngineServer`: an engine and the kernels that are linked to it, whatever carries their links."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import UNSET

from nbchat.core import commands as c
from nbchat.core.errors import NbchatError
from nbchat.core.kernel_commands import Command
from nbchat.core.messages import Author
from nbchat.engine.local_backend import LocalBackend
from nbchat.runner.engine import RunnerEngine
from nbchat.runner.frames import encode_frame
from nbchat.runner.kernel_link import KernelLink
from nbchat.runner.messages import STARTS_RUN, Greeting, Hello
from nbchat.runner.permissions import FULL_ACCESS, Permissions
from nbchat.runner.served_batches import Divide, ServedBatches
from nbchat.runner.transports import AsyncTransport
from nbchat.runner.wires import Wires

if TYPE_CHECKING:
    from nbchat.batch_engine.answers import Place


class EngineServer(ABC):
    """Serves kernels. Methods are for the engine's loop, unless their docstring names another thread.

    Parameters
    ----------
    engine
        The engine.
    batch_journal
        Returns the place of the journal of a batch; see `ServedBatches`.
    divide
        Lets other processes take part in each batch.
    """

    def __init__(
        self,
        engine: RunnerEngine,
        batch_journal: Callable[[str], Place | None],
        divide: Divide | None = None,
    ) -> None:
        self.engine = engine
        self.backend = LocalBackend(engine)
        self.wires = Wires()
        self.batches = ServedBatches(engine, batch_journal, divide)
        self.over = threading.Event()
        """Set when the links are to end."""
        self._links: set[KernelLink] = set()
        self._draining = False

    async def serve(
        self,
        transport: AsyncTransport,
        hello: Hello,
        greeting: Greeting,
        permissions: Permissions = FULL_ACCESS,
        author: Author = UNSET,
    ) -> None:
        """Serve one kernel until its link ends.

        Parameters
        ----------
        transport
            The link, from which the hello was read.
        hello
            The kernel's first message.
        greeting
            The answer to it.
        permissions
            The calls that the kernel may make.
        author
            The person whose kernel it is, as a service identified them.
        """
        link = KernelLink(self, transport, hello, permissions, author)
        transport.write(encode_frame(greeting))
        self._links.add(link)
        self.link_began(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.close()
            self.link_ended(link)

    def link_began(self, link: KernelLink) -> None:  # noqa: B027 - optional
        """React to a new link."""

    def typed(self, link: KernelLink, session_id: str) -> None:  # noqa: B027 - optional
        """Note the session in which a kernel's user is typing; an empty id: in none."""

    def link_ended(self, link: KernelLink) -> None:  # noqa: B027 - optional
        """React to the end of a link."""

    def close_links(self) -> None:
        """End all links."""
        for link in list(self._links):
            link.close()

    @property
    def kernels(self) -> int:
        """Number of linked kernels."""
        return sum(link.is_kernel for link in self._links)

    @property
    def links_with_pages(self) -> list[KernelLink]:
        """The links of kernels that have shown a view."""
        return [link for link in self._links if link.wire is not None]

    @property
    def has_pages(self) -> bool:
        """True if a kernel may have a page. From any thread."""
        return any(link.wire is not None for link in list(self._links))

    def link_of(self, page: str) -> KernelLink | None:
        """Return the link of a page's kernel."""
        found = (link for link in self._links if link.wire is not None and link.wire.has_page(page))
        return next(found, None)

    @property
    def is_busy(self) -> bool:
        """True if a run or a batch is not over."""
        live = any(session.state.live is not None for session in self.engine.sessions)
        return live or self.batches.is_busy

    @property
    def is_draining(self) -> bool:
        """True if the engine ends as soon as what is in progress has ended."""
        return self._draining

    def refuses(self, command: Command) -> bool:
        """Return whether a command would start a run while the engine ends."""
        return self._draining and isinstance(command, STARTS_RUN) and not isinstance(command, c.Resume)

    def interrupt(self, error: NbchatError) -> None:
        """End all runs as `interrupted`, and stop all batches."""
        self.batches.stop_all()
        for session in self.engine.sessions:
            session.runs.interrupt_all(error)

    @abstractmethod
    def kernel_shut_down(self, link: KernelLink) -> None:
        """React to a kernel that is shut down."""

    @abstractmethod
    def drain(self) -> None:
        """Finish the live runs, accept no new ones, and end."""

    @abstractmethod
    def restore(self) -> None:
        """Restore the saved sessions, once. On a thread."""

    @abstractmethod
    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook. On a thread."""
