"""`carry_out`: executes a command on the engine's loop. No other module defines the effect of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET
from msgspec.structs import replace

from nbchat.core import commands as c
from nbchat.core import kernel_commands as k
from nbchat.core.errors import CommandError, NbchatError, RequestRejected
from nbchat.core.events import Settings
from nbchat.core.kernel_commands import Outcome, RunKey
from nbchat.core.merging import without_authors
from nbchat.core.run import RunState
from nbchat.core.settings import SettingsPatch, clean_title, patch, request_params
from nbchat.engine.outcomes import encode_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbchat.core.kernel_commands import Command
    from nbchat.core.messages import Author, Message
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession
    from nbchat.providers.base import Provider

_STOPPING = c.Stop | c.StopAll | c.Pause | k.PauseAll

_NOT_PAUSED = (RunState.STOPPING, RunState.PAUSED, RunState.AWAITING_APPROVAL, RunState.ACTING)
"""States in which `pause_all` does not pause a run, since nothing is being read."""

EMPTY_PROMPT = "the prompt is empty; write what you want to ask."


def execute_once(engine: Engine, command: Command, author: Author = UNSET) -> Outcome:
    """Execute a command; a repeated one returns the same outcome again. Only on the engine's loop.

    The outcome is stored in the same write as the command's effect, if the engine has a lease. It is not
    stored for a temporary session, which does not survive the engine.

    Raises
    ------
    NbchatError
        If the command cannot be carried out now; nothing has changed.
    """
    engine.loop.check()
    known = engine.outcomes.get(command.id)
    if known is not None:
        return known
    outcome = carry_out(engine, command, author)
    engine.outcomes.add(command.id, outcome)
    session_id = getattr(command, "session_id", None) or outcome.session_id or ""
    session = engine.sessions.get_including_deleted(session_id)
    if engine.journal is not None and not (session is not None and session.state.temporary):
        engine.journal.acknowledge(command.id, encode_outcome(outcome))
    return outcome


def acknowledge(engine: Engine, command: Command, then: Callable[[], None]) -> None:
    """Call `then` when a command that `execute_once` has executed may be acknowledged.

    That is when its effect is stored, if the engine has a lease. A refused command is acknowledged at once,
    and so are Stop and Pause: after a crash there is nothing left to stop.
    """
    if isinstance(command, _STOPPING) or engine.outcomes.get(command.id) is None:
        then()
    else:
        engine.when_stored(then)


def carry_out(engine: Engine, command: Command, author: Author = UNSET) -> Outcome:
    """Execute a command. Only on the engine's loop.

    Parameters
    ----------
    author
        The person who sent it, as a service identified them. A command cannot name another person.

    Raises
    ------
    NbchatError
        If the command cannot be carried out now; nothing has changed.
    """
    engine.loop.check()
    try:
        return _on_engine(engine, command, author)
    except NbchatError:
        raise
    except (TypeError, ValueError) as error:
        # An argument error in a cell is a refusal on the wire.
        raise RequestRejected(str(error), stage="command", hint="") from error


def _on_engine(engine: Engine, command: Command, author: Author) -> Outcome:  # noqa: C901, PLR0911, PLR0912 - a case per command
    """Execute a command about all sessions, or about a session that may not exist yet."""
    match command:
        case k.CreateSession():
            return _create(engine, command, author)
        case k.GetOrCreateSession():
            found = engine.sessions.find(command.key)
            if found is None:
                return _create(engine, command, author)
            return _change(engine, found, command, author)
        case k.GetOrCreateThread():
            found = engine.sessions.of_thread(command.thread_id)
            if found is None:
                return _create(engine, command, author)
            return _change(engine, found, command, author)
        case c.NewSession():
            settings = Settings(title=clean_title(command.title), changed_by=author)
            return Outcome(session_id=engine.create(settings).id)
        case c.Delete(deleted=False):
            return Outcome(session_id=engine.undelete(command.session_id).id)
        case k.DiscardTemporary():
            session = engine.sessions.get(command.session_id)
            if session is not None and session.state.temporary:
                engine.delete(session)
            return Outcome()
        case k.Restore():
            snapshot = command.snapshot if author is UNSET else without_authors(command.snapshot)
            # A merge may replace what others wrote, and remove it, which only an owner may.
            restored = engine.snapshots.restore(snapshot, adopt=command.adopt, only_new=engine.is_shared)
            return Outcome(session_ids=tuple(session.id for session in restored))
        case c.StopAll(session_id=None):
            runs = [_key(session, run_id) for session in engine.sessions for run_id in session.stop_all()]
            return Outcome(runs=tuple(runs))
        case k.PauseAll():
            return _pause_all(engine)
        case k.ResumeAll():
            return _resume_all(engine)
        case k.CleanUpStale():
            max_idle_s = engine.limits.stale_s if command.max_idle_s is None else command.max_idle_s
            ended = engine.clean_up_stale(max_idle_s)
            return Outcome(runs=tuple(RunKey(session_id=sid, run_id=run_id) for sid, run_id in ended))
        case k.SetLimits():
            engine.limits.update(command.values)
            engine.scheduler.pump()
            return Outcome()
        case c.Viewing() | c.SetView() | c.ListModels():
            raise CommandError(f"{command.type!r} is about pages; only the wire carries it out.", hint="")
        case _:
            return _on_session(engine, engine.session(command.session_id or ""), command, author)


def _on_session(engine: Engine, session: LiveSession, command: Any, author: Author) -> Outcome:  # noqa: ANN401, C901, PLR0911, PLR0912 - a case per command
    """Execute a command about an existing session."""
    match command:
        case c.Send():
            return _send(session, command, author)
        case c.Stop():
            stopped = (_key(session, command.run_id),) if session.stop(command.run_id) else ()
            return Outcome(run_id=command.run_id, runs=stopped)
        case c.StopAll():
            return Outcome(runs=tuple(_key(session, run_id) for run_id in session.stop_all()))
        case c.Pause():
            return Outcome(run_id=session.pause(command.run_id).id)
        case c.Resume():
            return Outcome(run_id=session.resume(command.run_id))
        case c.RetryNow():
            hurried = (_key(session, command.run_id),) if session.retry_now(command.run_id) else ()
            return Outcome(run_id=command.run_id, runs=hurried)
        case c.Decide():
            session.runs.decide(command)
            return Outcome(run_id=command.run_id)
        case c.SwitchTool():
            session.switch_tool(command.name, on=command.on)
        case c.Retry():
            return Outcome(run_id=session.retry(command.message_id))
        case c.Regenerate():
            return Outcome(run_id=session.regenerate(command.message_id))
        case c.Continue():
            return Outcome(run_id=session.continue_(command.message_id))
        case c.Edit():
            if not command.text.strip():
                raise ValueError(EMPTY_PROMPT)
            return Outcome(run_id=session.edit(command.message_id, command.text, author))
        case c.Keep():
            session.keep(command.run_id)
        case c.Discard():
            session.discard(command.message_id)
        case c.SelectVersion():
            session.select(command.message_id)
        case c.Fork():
            fork = engine.fork(session, command.message_id, command.title, command.word, author)
            return Outcome(session_id=fork.id)
        case c.Delete():
            engine.delete(session)
        case c.Close():
            engine.close_tab(session, closed=command.closed)
        case c.Move():
            before = None if command.before is None else engine.session(command.before)
            engine.move(session, before)
        case _:
            session.configure(_patch_of(command), author)
    return Outcome(session_id=session.id)


def _patch_of(command: Any) -> SettingsPatch:  # noqa: ANN401 - one of the commands below
    """Return the settings that a command changes."""
    match command:
        case k.ChangeSettings():
            return command.settings
        case c.Rename():
            return patch(title=command.title)
        case c.Configure():
            return patch(
                model=command.model,
                instructions=command.instructions,
                params=command.params,
                from_file=False,
            )
        case c.Pin():
            return SettingsPatch(pinned=command.pinned)
        case c.Archive():
            return SettingsPatch(archived=command.archived, closed=command.archived)
        case _:
            raise CommandError(f"unknown command {command.type!r}.", hint="")


def _create(
    engine: Engine, command: k.CreateSession | k.GetOrCreateSession | k.GetOrCreateThread, author: Author
) -> Outcome:
    temporary, thread_id = False, None
    messages: tuple[Message, ...] = ()
    settings = Settings()
    match command:
        case k.CreateSession():
            temporary, messages = command.temporary, command.messages
            if author is not UNSET:
                messages = tuple(_imported(message, author) for message in messages)
        case k.GetOrCreateSession():
            temporary, settings = command.temporary, Settings(title=clean_title(command.key))
        case k.GetOrCreateThread():
            thread_id = command.thread_id
            settings = Settings(title=clean_title(thread_id), closed=True)
    provider = None if isinstance(command, k.GetOrCreateThread) else _offered(engine, command.provider_id)
    if engine.sessions.get_including_deleted(command.session_id) is not None:
        raise CommandError(f"session {command.session_id!r} exists already.", hint="Make a new id for each.")
    if temporary:
        settings = SettingsPatch(closed=True).applied_to(settings)
    session = engine.create(
        replace(command.settings.applied_to(settings), changed_by=author),
        session_id=command.session_id,
        temporary=temporary,
        thread_id=thread_id,
        provider=provider,
        messages=messages,
    )
    return Outcome(session_id=session.id)


def _imported(message: Message, author: Author) -> Message:
    """Return a message from another program; a question in it is that of the person who imports it."""
    return replace(message, written_by=author if message.role == "user" else UNSET)


def _change(
    engine: Engine,
    session: LiveSession,
    command: k.GetOrCreateSession | k.GetOrCreateThread,
    author: Author,
) -> Outcome:
    engine.ensure_loaded(session)
    settings = command.settings
    if isinstance(command, k.GetOrCreateSession):
        provider = _offered(engine, command.provider_id)
        if settings.changes():
            # The user sets them here, so they no longer wait to be adopted.
            settings = SettingsPatch(**{**settings.changes(), "from_file": False})
        if provider is not None or settings.changes().get("provider") is not None:
            session.provider = provider  # a name replaces an object
            session.publish()
    if settings.changes():
        session.configure(settings, author)
    return Outcome(session_id=session.id)


def _offered(engine: Engine, provider_id: str | None) -> Provider | None:
    if provider_id is None:
        return None
    provider = engine.offered.pop(provider_id, None)
    if provider is None:
        raise CommandError(f"no provider object {provider_id!r} was offered.", hint="")
    return provider


def _send(session: LiveSession, command: c.Send, author: Author) -> Outcome:
    if not command.text.strip() and not command.attachments:
        raise ValueError(EMPTY_PROMPT)
    run_id = session.send(
        command.text,
        command.attachments,
        run_id=command.run_id,
        message_id=command.message_id,
        params=request_params(command.params),
        author=author,
    )
    return Outcome(run_id=run_id)


def _pause_all(engine: Engine) -> Outcome:
    paused = []
    for session in engine.sessions:
        live = session.state.live
        if live is not None and live.state not in _NOT_PAUSED:
            paused.append(_key(session, session.pause(live.id).id))
    return Outcome(runs=tuple(paused))


def _resume_all(engine: Engine) -> Outcome:
    resumed = []
    for session in engine.sessions:
        live = session.state.live
        if live is not None and live.state is RunState.PAUSED:
            resumed.append(_key(session, session.resume(live.id)))
    return Outcome(runs=tuple(resumed))


def _key(session: LiveSession, run_id: str) -> RunKey:
    return RunKey(session_id=session.id, run_id=run_id)
