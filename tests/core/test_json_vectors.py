"""Any text in place of a snapshot is either read or refused, without side effects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nbchat.core.errors import SnapshotCorrupt, SnapshotError, SnapshotTooLarge
from nbchat.core.snapshot import FORMAT, loads, parse
from nbchat.export.reading import from_notebook
from nbchat.handles.registry import SessionRegistry
from tests.core import json_vectors
from tests.engines import engine_of

VALID, INVALID, OPEN = json_vectors.valid(), json_vectors.invalid(), json_vectors.OPEN_WHOLE


def test_there_are_enough_and_their_verdicts_are_right() -> None:
    """Another reader that is strict by RFC 8259 agrees which vectors are valid."""
    assert len(VALID) + len(INVALID) + len(OPEN) >= 318
    assert len(INVALID) >= 188
    for name, data in VALID.items():
        assert msgspec.json.decode(data) is not Ellipsis, name
    for name, data in INVALID.items():
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            pytest.fail(f"{name} was read as {msgspec.json.decode(data)!r}")


def test_valid_json_is_read() -> None:
    """Every valid text, as bytes or `str`, is read with the same value as by another reader."""
    for name, data in VALID.items():
        assert loads(data) == loads(data.decode()) == msgspec.json.decode(data), name


def test_invalid_json_is_refused() -> None:
    """Every invalid text raises `SnapshotCorrupt`."""
    for name, data in INVALID.items():
        for read in (loads, parse):
            with pytest.raises(SnapshotCorrupt):
                pytest.fail(f"{name} was taken by {read.__name__}: {read(data)!r}")


def test_implementation_defined_json_is_read_or_refused() -> None:
    """Huge numbers, lone surrogates and very deep nesting give a value or an error, without a hang."""
    for data in OPEN.values():
        try:
            loads(data)
        except (SnapshotCorrupt, SnapshotTooLarge):
            continue


@pytest.fixture(scope="module")
def registry() -> Iterator[SessionRegistry]:
    """Return a registry with one session, which must not change."""
    made = SessionRegistry()
    made.create("geo")
    yield made
    engine_of(made).shutdown()


def test_no_vector_restores_or_breaks_anything(registry: SessionRegistry) -> None:
    """Each vector is refused as a snapshot and within one, and the registry does not change."""
    before = registry.snapshot()["sessions"]
    head = json.dumps({"format": FORMAT, "version": 1, "sessions": []})[:-1].encode()
    for data in {**VALID, **INVALID, **OPEN}.values():
        for text in (data, head + b',"notes":' + data + b"}", head[:-1] + data + b"]}"):
            with pytest.raises(SnapshotError):
                pytest.fail(f"{text[:80]!r} restored {registry.restore(text)!r}")
    assert registry.snapshot()["sessions"] == before


def test_no_vector_in_a_notebook_breaks_reading_it(tmp_path: Path) -> None:
    """A notebook with any vector in its metadata raises `SnapshotError`."""
    path = tmp_path / "a.ipynb"
    for data in {**VALID, **INVALID, **OPEN}.values():
        path.write_bytes(b'{"cells":[],"nbformat":4,"nbformat_minor":5,"metadata":{"nbchat":' + data + b"}}")
        with pytest.raises(SnapshotError):
            pytest.fail(f"{data[:80]!r} gave {from_notebook(path)!r}")
