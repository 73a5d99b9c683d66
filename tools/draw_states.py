"""Draw the states of a run, from the table of transitions, into `docs/states.md`.

::

    python -m tools.draw_states            write the file
    python -m tools.draw_states --check    write nothing; fail if the file is stale
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nbchat.core import run
from nbchat.core.run import TRANSITIONS, RunState
from tools.generate_protocol import read_docs
from tools.generated import write_or_check

TARGET: Final = Path(__file__).parent.parent / "docs" / "states.md"
HEADER: Final = """\
<!-- Drawn from the table in nbchat/core/run.py by `make build`. Do not edit. -->

# The states of a run

A run begins as `queued` and ends in exactly one of the states at the bottom, which nothing leaves.
An arrow is an event of the session's log; events that change nothing about the state (a delta while
`streaming`) are not drawn. No other change of state can happen.
"""


def arrows() -> Iterator[str]:
    """Yield one line for each pair of states connected by an event."""
    yield f"[*] --> {RunState.QUEUED}"
    for state, row in TRANSITIONS.items():
        events = defaultdict(list)
        for event, following in row.items():
            if following is not state:
                events[following].append(event.__name__)
        for following, names in events.items():
            yield f"{state} --> {following}: {', '.join(names)}"
        if not row:
            yield f"{state} --> [*]"


def meanings() -> Iterator[str]:
    """Yield a table row for each state, with its docstring."""
    texts = read_docs(run).texts
    for state in RunState:
        meaning = " ".join(texts[f"RunState.{state.name}"].split())
        yield f"| `{state}` | {'over' if state.is_over else 'live'} | {meaning} |"


def draw() -> str:
    """Return the whole page."""
    diagram = "\n".join(["```mermaid", "stateDiagram-v2", *[f"    {line}" for line in arrows()], "```"])
    table = "\n".join(["| state | | means |", "| --- | --- | --- |", *meanings()])
    return f"{HEADER}\n{diagram}\n\n{table}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or check it; return the exit status."""
    return write_or_check({TARGET: draw()}, arguments)


if __name__ == "__main__":
    sys.exit(main())
