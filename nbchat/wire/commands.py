"""`PageCommands`: executes the commands of pages, each once, and acknowledges them."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.commands import ListModels, SetView, Viewing
from nbchat.core.errors import CommandError, NbchatError, StaleCommand
from nbchat.core.recovery import in_force
from nbchat.engine.carry_out import acknowledge
from nbchat.protocol import Ack, CommandChunk, KernelMessage, Models, RunCommand
from nbchat.wire.command_chunks import CommandChunks
from nbchat.wire.failures import info_of

if TYPE_CHECKING:
    from nbchat.core.kernel_commands import Outcome
    from nbchat.engine.engine import Engine
    from nbchat.wire.served_kernel import ServedKernel

logger = logging.getLogger("nbchat")

KEPT_ACKS: Final = 2000
"""Commands whose acknowledgement is kept, in case they are repeated."""


MAX_LISTS: Final = 8
"""Lists of models that the pages of one kernel can request at the same time."""


class PageCommands:
    """Removes repeated and outdated commands, and executes the others. For the engine's loop.

    Parameters
    ----------
    engine
        The engine that executes the commands.
    kernel
        The kernel of the pages.
    say
        Sends a message to the pages.
    set_view
        Changes the content of a view.
    """

    def __init__(
        self,
        engine: Engine,
        kernel: ServedKernel,
        say: Callable[[KernelMessage], None],
        set_view: Callable[[SetView], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._kernel = kernel
        self._say = say
        self._set_view = set_view
        self._setting_views = asyncio.Lock()
        self._acks: OrderedDict[str, Ack] = OrderedDict()
        self._unsaved: set[str] = set()
        """Commands that were executed and are acknowledged when this is stored."""
        self._chunks = CommandChunks()
        self._listing: dict[str | None, bool] = {}
        """Sessions whose models are being requested, and whether they were asked for again meanwhile."""

    def receive(self, message: RunCommand) -> None:
        """Execute a command, unless it is repeated or was sent to an earlier kernel, and acknowledge it."""
        command = message.command
        if self._acknowledge_again(command.id):
            return
        ack = self._execute(message)
        self._unsaved.add(command.id)
        acknowledge(self._engine, command, lambda: self._acknowledge(ack))

    def _acknowledge(self, ack: Ack) -> None:
        self._unsaved.discard(ack.id)
        self._acks[ack.id] = ack
        while len(self._acks) > KEPT_ACKS:
            self._acks.popitem(last=False)
        self._say(ack)

    def receive_chunk(self, message: CommandChunk) -> dict[str, Any] | None:
        """Add a part of a command; return the whole message, not yet validated, if it is complete.

        Raises
        ------
        WireError
            If the parts do not form a command.
        """
        return None if self._acknowledge_again(message.id) else self._chunks.take(message)

    def _acknowledge_again(self, command_id: str) -> bool:
        """Repeat the acknowledgement of a command that was executed, by this engine or an earlier one."""
        if command_id in self._unsaved:
            return True
        known = self._acks.get(command_id)
        if known is None and (outcome := self._engine.outcomes.get(command_id)) is not None:
            known = _ack(command_id, outcome)
        if known is not None:
            self._say(known)
        return known is not None

    def _execute(self, message: RunCommand) -> Ack:
        command = message.command
        if message.epoch != self._kernel.epoch:
            stale = StaleCommand("the kernel was restarted since this was asked.", hint="Ask again.")
            return Ack(id=command.id, error=stale.info)
        if isinstance(command, Viewing):
            self._view(message.page, command)
            return Ack(id=command.id)
        if isinstance(command, SetView):
            self._engine.loop.spawn(self._change_view(command), name="nbchat-set-view")
            return Ack(id=command.id)
        if isinstance(command, ListModels):
            return self._request_models(command)
        self._engine.presence.last_actor = message.page
        try:
            outcome = self._kernel.execute(command)
        except Exception as error:  # noqa: BLE001 - the page shows it
            return Ack(id=command.id, error=info_of(error, f"a page's {command.type} failed"))
        return _ack(command.id, outcome)

    def _view(self, page: str, command: Viewing) -> None:
        # The mark is shared: for a person who may only read, the session stays unread for the others.
        shown = command.session_ids if self._kernel.can_change() else ()
        now = self._engine.loop.aio.time()
        self._engine.presence.shows(page, shown, command.drafts, now)
        for session_id in shown:
            try:
                self._engine.session(session_id).set_unread(unread=False)
            except NbchatError:
                continue

    async def _change_view(self, command: SetView) -> None:
        async with self._setting_views:  # in the order in which they were sent
            try:
                await self._set_view(command)
            except Exception:
                logger.exception("the traits of a view could not be set")

    def _request_models(self, command: ListModels) -> Ack:
        """Request the models of a session's server, one request at a time, as the answer is for all pages."""
        session_id = command.session_id
        if session_id in self._listing:
            self._listing[session_id] = True  # the settings may have changed since it was asked for
        elif len(self._listing) >= MAX_LISTS:
            busy = CommandError(f"{MAX_LISTS} lists of models are being requested.", hint="Try again.")
            return Ack(id=command.id, error=busy.info)
        else:
            self._listing[session_id] = True
            self._engine.loop.spawn(self._list_while_asked(session_id), name="nbchat-list-models")
        return Ack(id=command.id)

    async def _list_while_asked(self, session_id: str | None) -> None:
        try:
            while self._listing[session_id]:
                self._listing[session_id] = False
                await self._list_models(session_id)
        finally:
            del self._listing[session_id]

    async def _list_models(self, session_id: str | None) -> None:
        providers = self._kernel.providers
        models: tuple[str, ...] = ()
        failure = None
        try:
            if session_id is None:
                models = await providers.models()
            else:
                session = self._engine.session(session_id)
                named = in_force(session.state.settings).provider
                models = await providers.models(session.provider, named)
        except NbchatError as error:
            failure = error.info
        usual = providers.defaults.model or next(iter(models), None)
        self._say(Models(models=models, session_id=session_id, model=usual, error=failure))


def _ack(command_id: str, outcome: Outcome) -> Ack:
    return Ack(id=command_id, session_id=outcome.session_id, run_id=outcome.run_id)
