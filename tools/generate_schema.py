"""Write `docs/snapshot.schema.json` from the types in a snapshot.

::

    python -m tools.generate_schema            write the file
    python -m tools.generate_schema --check    write nothing; fail if the file is stale

The records of messages, runs and settings are derived from their structs. A field equal to its default is
omitted, so fields with a default are not required and never null. Times are strings. The objects around
these records are described in this module.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from nbchat.core.errors import ErrorInfo
from nbchat.core.events import Settings
from nbchat.core.messages import Message, Part, Source, Usage
from nbchat.core.run import RunRecord
from nbchat.core.saved import VERSION
from nbchat.core.values import MAX_INTEGER
from tools.generate_protocol import read_docs, what_it_is
from tools.generated import write_or_check

TARGET: Final = Path(__file__).parent.parent / "docs" / "snapshot.schema.json"

STRUCTS: Final[tuple[type[Struct], ...]] = (
    *(Settings, Message, RunRecord),
    *get_args(Part),
    *(Source, Usage, ErrorInfo),
)

TIME: Final = {"$ref": "#/$defs/Time"}
COUNT: Final = {"$ref": "#/$defs/Count"}
CLOCK: Final = {"$ref": "#/$defs/Clock"}
CRC32: Final = {"$ref": "#/$defs/Crc32"}

AROUND: Final[Mapping[str, Any]] = {
    "Time": {
        "type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$",
        "description": "RFC 3339, in UTC.",
    },
    "Count": {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER},
    "Crc32": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**32 - 1,
        "description": "Of the canonical JSON of this object without crc32 (at the top: without sessions and "
        "unreadable, too).",
    },
    "Clock": {
        "type": "object",
        "additionalProperties": COUNT,
        "description": "Kernel start to the number of its last event that is in this state.",
    },
    "Tombstone": {
        "type": "object",
        "required": ["id", "at"],
        "properties": {"id": {"type": "string"}, "clock": CLOCK, "at": TIME},
    },
    "Session": {
        "type": "object",
        "required": ["id", "seq", "created_at", "clock", "settings", "messages", "selected", "runs", "crc32"],
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": 200},
            "seq": {**COUNT, "description": "Number of the last event in this state."},
            "created_at": TIME,
            "clock": CLOCK,
            "settings": {"$ref": "#/$defs/Settings"},
            "messages": {
                "type": "array",
                "items": {"$ref": "#/$defs/Message"},
                "description": "All versions of all turns, in the order they came.",
            },
            "selected": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Parent's id (empty for the beginning) to the child that is shown.",
            },
            "runs": {"type": "array", "items": {"$ref": "#/$defs/RunRecord"}},
            "thread_id": {"type": "string"},
            "unread": {"type": "boolean"},
            "omitted": {**COUNT, "description": "Messages that were left out because of a size limit."},
            "crc32": CRC32,
        },
    },
}

TOP: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": f"nbchat snapshot, version {VERSION}",
    "description": "Conversations as a notebook carries them, under the metadata key nbchat. Fields that "
    "have their default are left out; unknown fields are ignored.",
    "type": "object",
    "required": ["format", "version", "saved_at", "crc32", "sessions"],
    "properties": {
        "format": {"const": "nbchat-snapshot"},
        "version": {"const": VERSION},
        "notebook_id": {
            "type": "string",
            "description": "The notebook of this state, and so its journal.",
        },
        "epoch": {"type": "string", "description": "The kernel start that wrote it."},
        "saved_at": TIME,
        "place": {
            "type": "string",
            "description": "A digest of the notebook's path, by which a copy is told from the original.",
        },
        "deleted": {"type": "array", "items": {"$ref": "#/$defs/Tombstone"}},
        "notes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "For people: what was left out or repaired.",
        },
        "crc32": CRC32,
        "sessions": {"type": "array", "items": {"$ref": "#/$defs/Session"}},
        "unreadable": {"type": "array", "description": "Records that could not be read, as they were."},
    },
}


def written(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field in a snapshot: not null, and without bounds that apply to every number."""
    options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(options) == 1:
        return written(options[0])
    left_out = {"default", "title", "discriminator"}
    if schema.get("type") == "number":
        left_out |= {"minimum", "maximum"}
    kept = {key: value for key, value in schema.items() if key not in left_out}
    if options:
        kept["anyOf"] = [written(one) for one in options]
    if "items" in kept:
        kept["items"] = written(kept["items"])
    return kept


def record(kind: type[Struct], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a value's record."""
    docs = read_docs(sys.modules[kind.__module__]).texts
    fields = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    properties: dict[str, Any] = {}
    for name, field in schema["properties"].items():
        if name.endswith("_at"):
            properties[name] = TIME
            continue
        properties[name] = written(field)
        if text := docs.get(f"{kind.__name__}.{fields.get(name, name)}"):
            properties[name]["description"] = " ".join(text.split())
    described = {
        "type": "object",
        "description": " ".join(what_it_is(kind).split()),
        "properties": properties,
    }
    if required := schema.get("required"):
        described["required"] = required
    return described


def generate() -> str:
    """Return the whole file."""
    _, schemas = msgspec.json.schema_components(STRUCTS, ref_template="#/$defs/{name}")
    structs = {kind.__name__: kind for kind in STRUCTS}
    records = {
        name: record(structs[name], schema) if name in structs else {"enum": schema["enum"]}
        for name, schema in schemas.items()
    }
    return json.dumps({**TOP, "$defs": {**AROUND, **records}}, indent=2, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or check it; return the exit status."""
    return write_or_check({TARGET: generate()}, arguments)


if __name__ == "__main__":
    sys.exit(main())
