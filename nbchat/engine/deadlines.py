"""`Deadlines`: the clocks of one run, and the timer for the limit that is reached first.

Clocks are monotonic and measure content: pings do not count, and neither does time spent paused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from nbchat.core.clock import now
from nbchat.core.errors import FirstTokenTimeout, IdleTimeout, NbchatError, PauseExpired, TotalTimeout
from nbchat.engine.limits import Limits

AFTER_FINISH_S: Final = 3.0
"""Seconds that a server has after the finish reason, to send the usage and to close."""

Cause = Callable[[], NbchatError | None]
"""Makes the error of a limit; `None` after the finish reason, which is no error."""


class Waiting(Struct, frozen=True, kw_only=True):
    """A wait for the first content of an answer."""

    since: float
    limit_s: float | None
    """Seconds after which the attempt fails."""


class Deadlines:
    """Calls `expired` when a limit is reached. Only for the engine's loop.

    Parameters
    ----------
    limits
        Read again at each check, so that a change applies at once.
    expired
        Called once with the error of the limit; with `None` when the server has not closed in time after the
        finish reason.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        expired: Callable[[NbchatError | None], object],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._expired = expired
        self._began = self._attempt_began = loop.time()
        self._epoch = now() - self._began
        self._last_content: float | None = None
        self._finished_at: float | None = None
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._is_waiting = False
        self._acting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def is_paused(self) -> bool:
        """True if the run is paused."""
        return self._paused_at is not None

    @property
    def is_held(self) -> bool:
        """True if silence is expected: the run is paused, waits before a retry, or for tool calls."""
        return self._paused_at is not None or self._is_waiting or self._acting_since is not None

    @property
    def silent_s(self) -> float:
        """Seconds since the last content, or since the attempt began; 0 while the run is held."""
        if self.is_held:
            return 0.0
        return self._loop.time() - (self._last_content or self._attempt_began)

    @property
    def waiting(self) -> Waiting | None:
        """The wait for the first content of the attempt; `None` if it has content or is held."""
        if self.is_held or self.had_content:
            return None
        return Waiting(since=self._epoch + self._attempt_began, limit_s=self._limits.first_token_s)

    @property
    def had_content(self) -> bool:
        """True if any content has arrived."""
        return self._last_content is not None

    # Events of the run

    def attempt(self) -> None:
        """Start waiting for the first content of an attempt."""
        self._attempt_began = self._loop.time()
        self.check()

    def content(self) -> None:
        """Record content. The timer is set again when it fires, not at every piece."""
        first = self._last_content is None
        self._last_content = self._loop.time()
        if first:
            self.check()

    def hold(self) -> None:
        """Forget the finish reason and the content, and wait: another round of the same run may follow."""
        self._finished_at = self._last_content = None
        self.wait_to_retry(waiting=True)

    def act(self) -> None:
        """Stop all clocks while tool calls wait for approval or run."""
        self._acting_since = self._loop.time()
        self._finished_at = self._last_content = None
        self.check()

    def acted(self) -> None:
        """Restart the clocks for the next round of the run."""
        if self._acting_since is not None:
            self._paused_s += self._loop.time() - self._acting_since
            self._acting_since = None
        self.attempt()

    def finished(self) -> None:
        """Record the finish reason."""
        self._finished_at = self._loop.time()
        self.check()

    def stream_over(self) -> None:
        """Record the end of the stream: nothing has to be closed any more."""
        self._finished_at = None
        self.check()

    def wait_to_retry(self, *, waiting: bool) -> None:
        """Stop or restart the clock of the first content around the wait before a retry."""
        self._is_waiting = waiting
        if waiting:
            self.check()

    def pause(self) -> None:
        """Stop all clocks but the limit of the pause itself."""
        self._paused_at = self._loop.time()
        self.check()

    def resume(self) -> None:
        """Restart the clocks."""
        if self._paused_at is None:
            return
        paused_s = self._loop.time() - self._paused_at
        self._paused_s += paused_s
        if self._last_content is not None:
            self._last_content += paused_s
        self._attempt_began += paused_s
        self._paused_at = None
        self.check()

    def close(self) -> None:
        """Stop the timer for good."""
        self._closed = True
        self._cancel_timer()

    # The timer

    def check(self) -> None:
        """Set the timer to the next moment at which a limit could be reached."""
        self._cancel_timer()
        if self._closed:
            return
        at = min((at for at, _ in self._deadlines()), default=None)
        if at is not None:
            self._timer = self._loop.call_at(at, self._fired)

    def _fired(self) -> None:
        self._timer = None
        # Content may have arrived since the timer was set: then it is set again, for later.
        time = self._loop.time()
        due = next((cause for at, cause in self._deadlines() if at <= time), None)
        if due is None:
            self.check()
        else:
            self._expired(due())

    def _deadlines(self) -> list[tuple[float, Cause]]:
        limits = self._limits
        if self._acting_since is not None:
            return []
        if self._paused_at is not None:
            return [(self._paused_at + limits.pause_limit_s, self._pause_expired)]
        if self._finished_at is not None:
            return [(self._finished_at + AFTER_FINISH_S, lambda: None)]
        deadlines: list[tuple[float, Cause]] = []
        if self._last_content is None:
            if limits.first_token_s is not None and not self._is_waiting:
                deadlines.append((self._attempt_began + limits.first_token_s, self._no_first_token))
        elif limits.idle_s is not None:
            deadlines.append((self._last_content + limits.idle_s, self._idle))
        if limits.total_s is not None:
            deadlines.append((self._began + self._paused_s + limits.total_s, self._too_long))
        return deadlines

    def _no_first_token(self) -> NbchatError:
        return FirstTokenTimeout(f"the server sent nothing for {self._limits.first_token_s:g} s.")

    def _idle(self) -> NbchatError:
        return IdleTimeout(f"the answer stopped: no content came for {self._limits.idle_s:g} s.")

    def _too_long(self) -> NbchatError:
        return TotalTimeout(f"the answer took longer than the limit of {self._limits.total_s:g} s.")

    def _pause_expired(self) -> NbchatError:
        return PauseExpired(f"the run was paused for longer than {self._limits.pause_limit_s:g} s.")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
