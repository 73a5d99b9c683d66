"""`Snapshots` takes snapshots of all sessions."""

import pytest

from nbchat.core.saved import SavedSession
from nbchat.engine import snapshots
from nbchat.handles.registry import SessionRegistry
from tests.engines import engine_of


def test_an_unchanged_session_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint encodes, cleans and checksums only the sessions that changed since the last one."""
    registry = SessionRegistry()
    engine = engine_of(registry)
    sessions = [registry.create(title) for title in ("Seine", "Rhône", "Loire")]
    encode, encoded = snapshots.encode_session, []

    def counted(saved: SavedSession) -> bytes:
        encoded.append(saved.state.id)
        return encode(saved)

    monkeypatch.setattr(snapshots, "encode_session", counted)

    def checkpoint() -> list[str]:
        encoded.clear()
        engine.snapshots.encode(engine.loop.call(engine.snapshots.take), 100_000)
        return list(encoded)

    assert sorted(checkpoint()) == sorted(session.id for session in sessions)
    assert checkpoint() == []
    sessions[1].rename("Saône")
    assert checkpoint() == [sessions[1].id]
    registry.shutdown()
