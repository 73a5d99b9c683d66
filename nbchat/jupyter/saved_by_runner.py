"""`SavedByRunner`: the notebook of a runner. The runner restores its sessions and sends its checkpoints."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from nbchat.core.errors import CommandError, NbchatError
from nbchat.jupyter.notebook import Notebook
from nbchat.stores import places

if TYPE_CHECKING:
    from pathlib import Path

    from nbchat.jupyter.transcripts import Bundle
    from nbchat.runner.server import RunnerServer
    from nbchat.wire.server import WireServer

logger = logging.getLogger("nbchat")


class SavedByRunner:
    """Restores and saves the sessions of a runner. Implements `Saved`."""

    def __init__(self, server: RunnerServer) -> None:
        self._server = server
        outputs = TranscriptsOfKernels(server)
        self._notebook = Notebook(
            server.engine, server.place.notebook, journal=not places.is_disabled(), transcripts=outputs
        )
        self._is_restored = False
        server.wires.client = self._notebook
        server.engine.loop.call(self._notebook.connected, cast("WireServer", server.wires))

    def restore(self) -> None:
        """Restore the saved sessions, once; blocks."""
        if not self._is_restored:
            self._is_restored = True
            self._notebook.restore(self._connect)

    def _connect(self) -> None:
        """Refuse to wait for the state of a page if no kernel has one."""
        if not self._server.has_pages:
            raise CommandError("no kernel of this runner has a page.")

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook."""
        self._notebook.set_journal(on=on)

    @property
    def notebook_id(self) -> str:
        """The notebook's id; empty before the sessions are restored."""
        return self._notebook.identity.id

    @property
    def path(self) -> str:
        """The notebook's path, which changes when it is renamed."""
        return self._notebook.identity.path

    def batch_journal(self, batch_id: str) -> Path | None:
        """Return the path of a batch's journal; `None` if nothing may be written outside the notebook."""
        if not self._notebook.has_journal:
            return None
        places.remove_old_batches(places.batches())
        try:
            return places.batch(self._notebook.identity.id, batch_id)
        except OSError as error:
            logger.warning("a batch is not kept: %s", error)
            return None


class TranscriptsOfKernels:
    """The transcripts in outputs, which kernels show. Implements `TranscriptOutputs`."""

    def __init__(self, server: RunnerServer) -> None:
        self._server = server

    async def news(self, page: str) -> dict[str, Bundle]:
        """Return the outputs that a page lacks."""
        link = self._server.link_of(page)
        if link is None:
            return {}
        try:
            found: dict[str, Bundle] = await link.ask("transcripts", page=page)
        except NbchatError:
            return {}
        return found or {}

    def lost(self, page: str) -> None:
        """Mark the outputs delivered to a page as not delivered."""
        if (link := self._server.link_of(page)) is not None:
            link.notify("lost_transcripts", page=page)

    async def display(self) -> None:
        """Update all outputs if no page does."""
        asked: list[Any] = [link.ask("show_transcripts") for link in self._server.links_with_pages]
        for error in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(error, Exception):
                logger.debug("a transcript could not be updated", exc_info=error)
