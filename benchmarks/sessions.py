"""Print the cost of many sessions in the page, and the time to show a long one.

::

    python -m benchmarks.sessions

Measured in Chromium with the real view and store: the main thread's CPU time, which does not depend on other
processes, while 8 sessions stream and one is shown, compared with a single session; the switch to a session
of 1,000 messages; and the size of the bundles.
"""

import gzip
from pathlib import Path
from statistics import median
from typing import Final

from playwright.sync_api import Page

from benchmarks.page import Clock, blank_page

STATIC: Final = Path(__file__).parents[1] / "nbchat" / "static"
SESSIONS: Final = (1, 8)
SECONDS: Final = 6
ROUNDS: Final = 3
MESSAGES: Final = 1000
SWITCHES: Final = 7


def streams(page: Page) -> None:
    """Measure one session, and several of which one is shown, in alternating rounds."""
    clock = Clock(page, "threadTicks")
    busy: dict[int, list[float]] = {count: [] for count in SESSIONS}
    seen: dict[int, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for count, values in busy.items():
            page.evaluate("([n, s]) => bench.prepareStreams(n, s)", [count, SECONDS])
            page.wait_for_timeout(500)
            before = clock.read("TaskDuration")
            seen[count] = page.evaluate("() => bench.stream()")
            values.append((clock.read("TaskDuration") - before) * 1000 / SECONDS)
            if not page.evaluate("() => bench.complete()"):
                raise AssertionError("some text did not arrive")
    one = median(busy[SESSIONS[0]])
    for count, values in busy.items():
        print(
            f"{count} session{'s, one shown' if count > 1 else ''}".ljust(22)
            + f"{median(values):>5.0f} ms of each second {median(values) / one:>5.2f} x, "
            f"{seen[count]['framesPerS']:.1f} frames/s, {seen[count]['longTasks']:.0f} long tasks"
        )


def switches(page: Page) -> None:
    """Measure the switch to a long session, the first time and later."""
    page.evaluate("n => bench.prepareSwitch(n)", MESSAGES)
    page.wait_for_timeout(500)
    shown = [page.evaluate("() => bench.switchTo()") for _ in range(SWITCHES)]
    print(
        f"switch to {MESSAGES} messages: the first {shown[0]['workMs']:.1f} ms, "
        f"then {median(each['workMs'] for each in shown[1:]):.1f} ms until it can be painted; "
        f"{shown[-1]['elements']} elements, {shown[-1]['elementsLater']} with what is above"
    )


def sizes() -> None:
    """Print the bundles' sizes, compressed."""
    for path in sorted(STATIC.glob("*.js")):
        print(f"{path.name:<22}{len(gzip.compress(path.read_bytes(), 9)) / 1024:>6.1f} KB gzip")


def main() -> None:
    """Measure and print."""
    with blank_page("tests/bench/sessions.ts") as page:
        streams(page)
        switches(page)
    sizes()


if __name__ == "__main__":
    main()
