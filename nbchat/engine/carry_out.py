"""A page's command, carried out on the engine's loop by the same methods that cells use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from nbchat.core import commands as c
from nbchat.core.errors import CommandError, NbchatError, RequestRejected
from nbchat.core.settings import session_settings

if TYPE_CHECKING:
    from nbchat.core.commands import Command
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.registry import SessionRegistry


class Outcome(Struct, frozen=True, kw_only=True):
    """What a command made, for its acknowledgement."""

    session_id: str | None = None
    run_id: str | None = None


def carry_out(registry: SessionRegistry, command: Command) -> Outcome:
    """Carry out a command. Only on the engine's thread.

    Raises
    ------
    CommandError
        It cannot be done now; nothing has changed.
    """
    handler = _HANDLERS.get(type(command))
    if handler is None:
        raise CommandError(f"the command {command.type!r} is not for the registry.")
    try:
        return handler(registry, command)
    except NbchatError:
        raise
    except (TypeError, ValueError) as error:
        # What a cell gets as a wrong argument, a page gets as a refusal.
        raise RequestRejected(str(error), stage="command", hint="") from error


def _session(registry: SessionRegistry, command: Any) -> LiveSession:  # noqa: ANN401 - has a session_id
    return registry.conversation(command.session_id)


def _send(registry: SessionRegistry, command: c.Send) -> Outcome:
    if not command.text.strip() and not command.attachments:
        raise ValueError("the prompt is empty; write what you want to ask.")
    return Outcome(run_id=_session(registry, command).send(command.text, command.attachments))


def _stop(registry: SessionRegistry, command: c.Stop) -> Outcome:
    _session(registry, command).stop(command.run_id)
    return Outcome(run_id=command.run_id)


def _stop_all(registry: SessionRegistry, command: c.StopAll) -> Outcome:
    if command.session_id is None:
        registry.stop_all()
    else:
        registry.conversation(command.session_id).stop_all()
    return Outcome()


def _pause(registry: SessionRegistry, command: c.Pause) -> Outcome:
    return Outcome(run_id=_session(registry, command).pause(command.run_id).id)


def _resume(registry: SessionRegistry, command: c.Resume) -> Outcome:
    return Outcome(run_id=_session(registry, command).resume(command.run_id))


def _retry(registry: SessionRegistry, command: c.Retry) -> Outcome:
    return Outcome(run_id=_session(registry, command).retry(command.message_id))


def _regenerate(registry: SessionRegistry, command: c.Regenerate) -> Outcome:
    return Outcome(run_id=_session(registry, command).regenerate(command.message_id))


def _continue(registry: SessionRegistry, command: c.Continue) -> Outcome:
    return Outcome(run_id=_session(registry, command).continue_(command.message_id))


def _edit(registry: SessionRegistry, command: c.Edit) -> Outcome:
    if not command.text.strip():
        raise ValueError("the prompt is empty; write what you want to ask.")
    return Outcome(run_id=_session(registry, command).edit(command.message_id, command.text))


def _keep(registry: SessionRegistry, command: c.Keep) -> Outcome:
    _session(registry, command).keep(command.run_id)
    return Outcome()


def _discard(registry: SessionRegistry, command: c.Discard) -> Outcome:
    _session(registry, command).discard(command.message_id)
    return Outcome()


def _select(registry: SessionRegistry, command: c.SelectVersion) -> Outcome:
    _session(registry, command).select(command.message_id)
    return Outcome()


def _fork(registry: SessionRegistry, command: c.Fork) -> Outcome:
    return Outcome(session_id=registry.branch(_session(registry, command), command.message_id).id)


def _new(registry: SessionRegistry, command: c.NewSession) -> Outcome:
    from nbchat.core.events import Settings  # noqa: PLC0415 - beside its only use

    settings = Settings(**session_settings({"title": command.title}))
    return Outcome(session_id=registry.open(settings).id)


def _rename(registry: SessionRegistry, command: c.Rename) -> Outcome:
    _session(registry, command).configure(**session_settings({"title": command.title}))
    return Outcome()


def _configure(registry: SessionRegistry, command: c.Configure) -> Outcome:
    changes = session_settings(
        {"model": command.model, "instructions": command.instructions, "params": command.params}
    )
    _session(registry, command).configure(**changes, from_file=False)
    return Outcome()


def _pin(registry: SessionRegistry, command: c.Pin) -> Outcome:
    _session(registry, command).configure(pinned=command.pinned)
    return Outcome()


def _move(registry: SessionRegistry, command: c.Move) -> Outcome:
    session = _session(registry, command)
    registry.move(session, None if command.before is None else registry.conversation(command.before))
    return Outcome()


def _close(registry: SessionRegistry, command: c.Close) -> Outcome:
    registry.close_tab(_session(registry, command), closed=command.closed)
    return Outcome()


def _archive(registry: SessionRegistry, command: c.Archive) -> Outcome:
    _session(registry, command).configure(archived=command.archived, closed=command.archived)
    return Outcome()


def _delete(registry: SessionRegistry, command: c.Delete) -> Outcome:
    if command.deleted:
        registry.remove(_session(registry, command))
    else:
        registry.put_back(command.session_id)
    return Outcome(session_id=command.session_id)


_HANDLERS: Final[Mapping[type[Any], Callable[[SessionRegistry, Any], Outcome]]] = {
    c.Send: _send,
    c.Stop: _stop,
    c.StopAll: _stop_all,
    c.Pause: _pause,
    c.Resume: _resume,
    c.Retry: _retry,
    c.Regenerate: _regenerate,
    c.Continue: _continue,
    c.Edit: _edit,
    c.Keep: _keep,
    c.Discard: _discard,
    c.SelectVersion: _select,
    c.Fork: _fork,
    c.NewSession: _new,
    c.Rename: _rename,
    c.Configure: _configure,
    c.Pin: _pin,
    c.Move: _move,
    c.Close: _close,
    c.Archive: _archive,
    c.Delete: _delete,
}
