"""Committed generated files equal the output of their generators."""

import shutil
import subprocess
from pathlib import Path

from tools import draw_states, generate_protocol, generate_schema

ROOT = Path(__file__).parent.parent


def test_the_page_s_message_types_are_fresh() -> None:
    """js/src/protocol.ts matches nbchat/protocol.py."""
    written = generate_protocol.TARGET.read_text(encoding="utf-8")
    assert written == generate_protocol.generate(), "run `make build` and commit js/src/protocol.ts"


def test_the_schema_of_snapshots_is_fresh() -> None:
    """docs/snapshot.schema.json describes the structs that a snapshot holds."""
    written = generate_schema.TARGET.read_text(encoding="utf-8")
    assert written == generate_schema.generate(), "run `make build` and commit docs/snapshot.schema.json"


def test_the_diagram_of_states_is_fresh() -> None:
    """docs/states.md shows the table in nbchat/core/run.py."""
    written = draw_states.TARGET.read_text(encoding="utf-8")
    assert written == draw_states.draw(), "run `make build` and commit docs/states.md"


def test_the_built_page_is_fresh() -> None:
    """nbchat/static equals, byte for byte, the build of the sources in js/src."""
    node = shutil.which("node")
    assert node, "Node is needed to rebuild the page; `make test-python` puts one in place"
    done = subprocess.run(
        [node, "build.mjs", "--check"], cwd=ROOT / "js", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
