"""`Tally`: counts the results of a batch and shows its progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from nbchat.batch.results import BatchProgress, Result, cost_of_result
from nbchat.core.messages import Usage
from nbchat.engine.loop_thread import POLL_S

if TYPE_CHECKING:
    from nbchat.handles.host import Host


class Tally:
    """Counts results, and calls a function for each one or updates a progress bar at intervals.

    Parameters
    ----------
    estimate
        Returns the estimated tokens of all requests together, and their cost if it is known. Called once,
        if progress is shown.
    """

    def __init__(
        self,
        total: int,
        progress: bool | Callable[[BatchProgress], object],
        host: Host,
        *,
        estimate: Callable[[], tuple[int, Decimal | None]],
        continues: bool | None = None,
    ) -> None:
        self._total = total
        self._estimate = cache(estimate)
        self._continues = continues
        self._began = time.monotonic()
        self._done = self._failed = self._restored = 0
        self._usage = Usage()
        self._cost: Decimal | None = None
        self._priced = 0
        self._close: Callable[[], object] | None = None
        self._show: Callable[[BatchProgress], object] | None = None
        self._interval_s = 0.0
        self._shown_at = 0.0
        if callable(progress):
            self._show = progress
        elif progress:
            self._show, self._close = _bar(host, total)
            self._interval_s = POLL_S

    def add(self, result: Result) -> None:
        """Count one more result."""
        self._done += 1
        self._failed += not result.ok
        self._restored += result.restored
        if result.usage is not None:
            self._usage += result.usage
        if self._show is not None and (cost := cost_of_result(result)) is not None:
            self._cost = cost + (self._cost or 0)
            self._priced += 1

    def show(self) -> None:
        """Show the progress, at most once per interval."""
        now = time.monotonic()
        if self._show is not None and now - self._shown_at >= self._interval_s:
            self._shown_at = now
            self._show(self._now())

    def close(self) -> None:
        """Show the final progress and close the bar."""
        if self._show is not None and self._close is not None:
            self._show(self._now())
            self._close()

    def _now(self) -> BatchProgress:
        tokens, estimate = self._estimate()
        if self._cost is not None:
            estimate = self._cost + self._cost / self._priced * (self._total - self._done)
        return BatchProgress(
            total=self._total,
            done=self._done,
            failed=self._failed,
            restored=self._restored,
            elapsed_s=time.monotonic() - self._began,
            usage=self._usage,
            continues=self._continues,
            prompt_tokens=tokens,
            cost=self._cost,
            estimated_cost=estimate,
        )


def _bar(
    host: Host, total: int
) -> tuple[Callable[[BatchProgress], object] | None, Callable[[], object] | None]:
    """Return the functions that update and close a bar in a notebook or a terminal, if there is one."""
    found = host.progress_bar(total)
    if found is not None:
        return found
    if sys.stderr is not None and sys.stderr.isatty():
        return _line, lambda: sys.stderr.write("\n")
    return None, None


def _line(now: BatchProgress) -> None:
    width = 24
    filled = width * now.done // max(now.total, 1)
    sys.stderr.write(f"\r\x1b[2K{'█' * filled}{'░' * (width - filled)} {now}")
    sys.stderr.flush()
