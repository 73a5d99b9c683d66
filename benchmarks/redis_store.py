"""Cost of a write to `RedisStore` beside a bare XADD of the same bytes."""

import statistics
import time
from collections.abc import Callable

from benchmarks.stored import DELTAS, deltas
from nbchat.core.ids import new_id
from nbchat.engine.journal_events import encode_events
from nbchat.stores.base import Stretch
from nbchat.stores.bodies import compressed
from nbchat.stores.redis import RedisStore
from tests.redis_process import RedisProcess

TIMES = 2_000
"""Writes in one round."""

ROUNDS = 5


def main() -> None:
    """Print both costs of the same writes, in turns, and their ratio."""
    events = deltas(new_id("r-"), 0, TIMES * DELTAS, 1.8e9)
    bodies = [encode_events(events[first : first + DELTAS]) for first in range(0, len(events), DELTAS)]
    with RedisProcess() as server, server.client() as client:
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

            def write(n: int, body: bytes, store: RedisStore = store, token: str = token) -> None:
                event = Stretch(
                    session_id="s-1", first_seq=n * DELTAS + 1, count=DELTAS, epoch=token, body=body
                )
                store.write(token, f"w-{n}", [event])

            measured("fenced write", "evalsha", write)
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


if __name__ == "__main__":
    main()
