"""Print the cost of a streamed answer in the page, compared with a lower bound and the usual approach.

::

    python -m benchmarks.page

The figures are milliseconds of the main thread (script and layout) in Chromium for a seeded answer in chunks
of 4 characters, 200 a second, batched per frame. Ratios are relative to one text node per block without
Markdown. All figures come from one run, since only ratios are comparable.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from playwright.sync_api import Page, sync_playwright

from tools import bundle, chromium

ROOT: Final = Path(__file__).parents[1]
SIZES_KB: Final = (10, 40, 160)
ROUNDS: Final = 3
REAL_TIME_S: Final = 10
USUAL: Final = "whole text again"
USUAL_CHARS: Final = 500
"""Characters at the end that are measured of the usual approach, which takes minutes for a long answer."""

Costs = dict[str, dict[int, float]]


@contextmanager
def blank_page(script: str) -> Iterator[Page]:
    """Open an empty page with the page's style sheet and a script under `js/`."""
    css = (ROOT / "js/src/view/markdown.css").read_text()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.find(), args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        page = browser.new_page()
        page.set_content(f"<!doctype html><style>{css}</style><body></body>")
        page.add_script_tag(content=bundle.script(script))
        yield page
        browser.close()


class Clock:
    """Reads the CPU time of the page's main thread, which does not depend on other processes."""

    def __init__(self, page: Page, domain: str) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": domain})

    def read(self, metric: str) -> float:
        """Return a performance metric of Chromium in seconds."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == metric)


def cost_ms(page: Page, clock: Clock, name: str, chars: int, last: int) -> float:
    """Return the main thread's milliseconds for the last characters of an answer."""
    before = clock.read("TaskDuration")
    page.evaluate("([n, c, l]) => bench.stream(n, c, l)", [name, chars, last])
    return (clock.read("TaskDuration") - before) * 1000


def measure(page: Page) -> Costs:
    """Return the median cost in milliseconds by approach and size."""
    clock = Clock(page, "threadTicks")
    costs: Costs = {"floor": {}, "nbchat": {}, USUAL: {}}
    for kb in SIZES_KB:
        chars = kb * 1000
        page.evaluate("(c) => bench.prepare(c)", chars)
        rounds: dict[str, list[float]] = {"floor": [], "nbchat": []}
        for _ in range(ROUNDS):
            for name, values in rounds.items():
                values.append(cost_ms(page, clock, name, chars, 2 * chars))
        for name, values in rounds.items():
            costs[name][kb] = median(values)
        # The cost of a frame grows with the text before it: the average is half the cost at the end.
        at_end = cost_ms(page, clock, USUAL, chars, USUAL_CHARS) / USUAL_CHARS
        costs[USUAL][kb] = at_end * chars / 2
    return costs


def in_real_time(page: Page, name: str) -> tuple[dict[str, float], float]:
    """Stream the end of a long answer in real time; return its frames and the main thread's busy share."""
    clock = Clock(page, "timeTicks")
    before, began = clock.read("TaskDuration"), clock.read("Timestamp")
    frames: dict[str, float] = page.evaluate(
        "([n, c, s]) => bench.realTime(n, c, s)", [name, SIZES_KB[-1] * 1000, REAL_TIME_S]
    )
    return frames, (clock.read("TaskDuration") - before) / (clock.read("Timestamp") - began)


def main() -> None:
    """Measure and print the tables."""
    with blank_page("tests/bench/page.ts") as page:
        costs = measure(page)
        print(f"{'streamed answer':<18}" + "".join(f"{kb:>9} KB        " for kb in SIZES_KB))
        for name, values in costs.items():
            cells = (f"{values[kb]:>9.0f} ms {values[kb] / costs['floor'][kb]:>5.1f} x" for kb in SIZES_KB)
            print(f"{name:<18}" + " ".join(cells))
        growth = costs["nbchat"][SIZES_KB[-1]] / costs["nbchat"][SIZES_KB[-2]]
        print(f"growth of nbchat from {SIZES_KB[-2]} to {SIZES_KB[-1]} KB: {growth:.1f} x\n")
        print(f"the last {REAL_TIME_S} s of {SIZES_KB[-1]} KB in real time")
        for name in ("floor", "nbchat"):
            frames, share = in_real_time(page, name)
            print(
                f"{name:<18}{frames['framesPerS']:>6.1f} frames/s, longest "
                f"{frames['longestFrameMs']:.0f} ms, main thread {share:.0%} busy"
            )


if __name__ == "__main__":
    main()
