"""A process that restores a journal and streams into it until it is killed.

Prints one line of JSON for each event, as soon as it has happened in this process: `restored`, then `asked`
(a run has started) and `text` (length of the text accepted so far, and the time).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from nbchat.engine.journal_reader import read_back
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import Delta, Request, TextDelta
from nbchat.providers.scripted import ScriptedProvider
from nbchat.stores.sqlite import SqliteStore
from tests.engines import engine_of


class Endless(ScriptedProvider):
    """Streams numbered words without end, one every few milliseconds."""

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Yield `w0 w1 w2 …`."""
        self.requests.append(request)
        number = 0
        while True:
            yield TextDelta(text=f"w{number} ")
            number += 1
            await asyncio.sleep(0.004)


def say(**news: object) -> None:
    """Print an event as one line of JSON."""
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Restore the journal, and stream into five new sessions."""
    store = SqliteStore(Path(sys.argv[1]), busy_s=10)
    registry = SessionRegistry()
    snapshot = read_back(store.read())

    def begin() -> None:
        engine_of(registry).open_journal(store)
        engine_of(registry).snapshots.restore(snapshot, known={})

    engine_of(registry).loop.call(begin)
    states = [run.state for session in registry.values() for run in session.runs]
    say(news="restored", damage=[*store.damage, *snapshot.notes], states=sorted(set(map(str, states))))
    sessions = [registry.create(f"s{i}", provider=Endless()) for i in range(5)]
    asked = {session: session.send(f"question of {session.id}") for session in sessions}
    started = set()
    while True:
        for session, run in asked.items():
            if run.state != "queued" and run not in started:
                started.add(run)
                say(news="asked", session=session.id, text=f"question of {session.id}")
            if run.text:
                say(news="text", session=session.id, length=len(run.text), at=time.time())
        time.sleep(0.02)


if __name__ == "__main__":
    main()
