"""Cost of a write to `RedisStore` beside a bare XADD of the same bytes, and the memory of a stream's text."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from nbchat.core.events import PartDelta
from nbchat.core.ids import new_id
from nbchat.engine.journal_entries import encode_events
from nbchat.stores.base import Stretch
from nbchat.stores.redis import RedisStore
from nbchat.stores.redis_rows import compressed
from tests.redis_process import RedisProcess

TIMES = 2_000
"""Writes in one round."""

ROUNDS = 5
DELTAS = 6
"""Events in a write: an answer of 50 deltas a second has one every 40 ms, and is written every 250 ms."""

DELTA_CHARS = 8
TEXT = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text("utf-8")
RUN = new_id("r-")


def deltas(number: int) -> list[PartDelta]:
    """Return the events of a write."""
    first, at = number * DELTAS * DELTA_CHARS, 1.8e9 + number * 0.25
    return [
        PartDelta(
            run_id=RUN,
            at=at + n * 0.0401,
            part_index=0,
            offset=offset,
            text=TEXT[offset % len(TEXT) :][:DELTA_CHARS],
        )
        for n, offset in enumerate(range(first, first + DELTAS * DELTA_CHARS, DELTA_CHARS))
    ]


def main() -> None:
    """Print both costs of the same writes, in turns, and their ratio."""
    bodies = [encode_events(deltas(number)) for number in range(TIMES)]
    with RedisProcess() as server, server.client() as client:
        memory: list[float] = []
        took: dict[str, list[tuple[float, float]]] = {"bare XADD": [], "fenced write": []}

        def measured(name: str, command: str, write: Callable[[int, bytes], object]) -> None:
            client.config_resetstat()
            start = time.perf_counter()
            for number, body in enumerate(bodies):
                write(number, body)
            wall_us = (time.perf_counter() - start) / TIMES * 1e6
            calls = client.info("commandstats")[f"cmdstat_{command}"]
            took[name].append((wall_us, calls["usec"] / TIMES))

        for number in range(ROUNDS):
            key = f"bare-{number}"
            measured(
                "bare XADD",
                "xadd",
                lambda n, body, key=key: client.xadd(key, {"b": compressed(body)}, id=f"{n + 1}-0"),
            )
            client.delete(key)
            store = RedisStore(server.url, f"n-{number}")
            token = new_id("l-")
            store.claim(token, 60.0)
            before = client.info("memory")["used_memory"]

            def write(n: int, body: bytes, store: RedisStore = store, token: str = token) -> None:
                event = Stretch(
                    session_id="s-1", first_seq=n * DELTAS + 1, count=DELTAS, epoch=token, body=body
                )
                store.write(token, f"w-{n}", [event])

            measured("fenced write", "evalsha", write)
            memory.append(client.info("memory")["used_memory"] - before)
            store.close()

    print(f"{TIMES:,} writes of {DELTAS} events, median of {ROUNDS} rounds")
    print(f"{'':20}{'µs in all':>12}{'µs of the server':>20}")
    medians = {
        name: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for name, rounds in took.items()
    }
    for name, (wall_us, server_us) in medians.items():
        print(f"  {name:18}{wall_us:12.1f}{server_us:20.1f}")
    ratios = [fenced / bare for bare, fenced in zip(*medians.values(), strict=True)]
    print(f"  {'ratio':18}{ratios[0]:12.2f}{ratios[1]:20.2f}")
    chars = TIMES * DELTAS * DELTA_CHARS
    print(f"  memory of the server per character of text: {statistics.median(memory) / chars:.1f} bytes")


if __name__ == "__main__":
    main()
