"""Print what a streamed answer costs the page, beside the least it can cost and what most pages do.

::

    python -m bench.page

Milliseconds of script and layout in Chromium for a seeded answer in chunks of 4 characters, 200 a second,
gathered per frame; the ratios are to one text node per block, without any Markdown. All in one run, since
only ratios compare.
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
WHOLE_TEXT_LAST_CHARS: Final = 500
"""The usual way takes minutes for a long answer: its cost is taken from the end, where it is highest."""

Costs = dict[str, dict[int, float]]


@contextmanager
def blank_page() -> Iterator[Page]:
    """Open an empty page with the page's style sheet and the script of the benchmark."""
    css = (ROOT / "js/src/view/markdown.css").read_text()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.find(), args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        page = browser.new_page()
        page.set_content(f"<!doctype html><style>{css}</style><body></body>")
        page.add_script_tag(content=bundle.script("tests/bench/page.ts"))
        yield page
        browser.close()


def measure(page: Page) -> Costs:
    """Return the median cost in milliseconds by approach and size."""
    costs: Costs = {"floor": {}, "nbchat": {}, "whole text again": {}}
    for kb in SIZES_KB:
        rounds: dict[str, list[float]] = {"floor": [], "nbchat": []}
        # Side by side in each round, so that what else the machine does meets both.
        for _ in range(ROUNDS):
            for name, values in rounds.items():
                values.append(page.evaluate("([n, c]) => bench.cost(n, c)", [name, kb * 1000]))
        for name, values in rounds.items():
            costs[name][kb] = median(values)
        last = min(WHOLE_TEXT_LAST_CHARS, kb * 1000)
        sample = page.evaluate("([n, c, l]) => bench.cost(n, c, l)", ["whole text again", kb * 1000, last])
        # The cost of a frame grows with what is there: on average, half of that at the end.
        costs["whole text again"][kb] = sample * (kb * 1000 / last) / 2
    return costs


def busy_share(page: Page, name: str) -> tuple[dict[str, float], float]:
    """Stream the end of a long answer in real time; return its frames and the main thread's busy share."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "timeTicks"})

    def metric(key: str) -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(float(each["value"]) for each in metrics if each["name"] == key)

    before, began = metric("TaskDuration"), metric("Timestamp")
    frames: dict[str, float] = page.evaluate(
        "([n, c, s]) => bench.realTime(n, c, s)", [name, SIZES_KB[-1] * 1000, REAL_TIME_S]
    )
    share = (metric("TaskDuration") - before) / (metric("Timestamp") - began)
    return frames, share


def main() -> None:
    """Measure and print the tables."""
    with blank_page() as page:
        costs = measure(page)
        print(f"{'streamed answer':<18}" + "".join(f"{kb:>9} KB        " for kb in SIZES_KB))
        for name, values in costs.items():
            cells = (f"{values[kb]:>9.0f} ms {values[kb] / costs['floor'][kb]:>5.1f} x" for kb in SIZES_KB)
            print(f"{name:<18}" + " ".join(cells))
        growth = costs["nbchat"][SIZES_KB[-1]] / costs["nbchat"][SIZES_KB[-2]]
        print(f"growth of nbchat from {SIZES_KB[-2]} to {SIZES_KB[-1]} KB: {growth:.1f} x\n")
        print(f"the last {REAL_TIME_S} s of {SIZES_KB[-1]} KB in real time")
        for name in ("floor", "nbchat"):
            frames, share = busy_share(page, name)
            print(
                f"{name:<18}{frames['framesPerS']:>6.1f} frames/s, longest "
                f"{frames['longestFrameMs']:.0f} ms, main thread {share:.0%} busy"
            )


if __name__ == "__main__":
    main()
