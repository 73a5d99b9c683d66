"""The JSON Schema in the documentation describes written snapshots."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator, ValidationError

from nbchat.core.saved import SavedSession, Snapshot, Tombstone
from nbchat.core.snapshot import dump
from tests.core.test_snapshot import sessions

SCHEMA: Any = json.loads((Path(__file__).parents[2] / "docs" / "snapshot.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    """The schema is a valid JSON Schema."""
    Draft202012Validator.check_schema(SCHEMA)


@settings(max_examples=30)
@given(sessions())
def test_written_snapshots_match_the_schema(saved: SavedSession) -> None:
    """Snapshots of any sessions match the schema."""
    stone = Tombstone(id="s-9", clock={"k-1": 1}, at=1e9)
    snapshot = Snapshot(
        notebook_id="n-1",
        epoch="k-1",
        saved_at=1e9,
        place="p",
        sessions=(saved,),
        deleted=(stone,),
        notes=("a",),
    )
    VALIDATOR.validate(json.loads(json.dumps(dump(snapshot))))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "snapshots").glob("*.json")), ids=lambda p: p.stem
)
def test_released_files_fit_it(path: Path) -> None:
    """Files of released versions match the schema, and files with a wrong role do not."""
    data = json.loads(path.read_text("utf-8"))
    VALIDATOR.validate(data)
    data["sessions"][0]["messages"][0]["role"] = "wizard"
    with pytest.raises(ValidationError):
        VALIDATOR.validate(data)
