"""`Progress`: counts and times of a run at one moment."""

from __future__ import annotations

from msgspec import Struct

from nbchat.core.clock import now
from nbchat.core.run import RunState


class Progress(Struct, frozen=True, kw_only=True):
    """Counts and times of a run at one moment. Times are seconds since 1970-01-01 UTC.

    Examples
    --------
    >>> now = geo.send("Seine").wait(30).progress
    >>> now.characters, now.attempt
    (5, 0)
    >>> now.elapsed_s >= now.time_to_first_token_s
    True
    """

    state: RunState
    characters: int
    """Accepted so far, text and reasoning."""
    queued_at: float
    started_at: float | None
    first_delta_at: float | None
    last_delta_at: float | None
    ended_at: float | None
    position: int | None
    """Position in the kernel's queue, from 1, while the run waits for a slot."""
    attempt: int
    """Retries so far."""
    attempts: int
    """Retries that are allowed."""
    retry_at: float | None
    """Time of the next attempt, while `retrying`."""

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the end, or to now."""
        if self.started_at is None:
            return 0.0
        return max((self.ended_at or now()) - self.started_at, 0.0)

    @property
    def time_to_first_token_s(self) -> float | None:
        """Seconds from the start to the first piece of content; `None` before it."""
        if self.first_delta_at is None or self.started_at is None:
            return None
        return self.first_delta_at - self.started_at

    @property
    def characters_per_s(self) -> float:
        """Rate since the first piece of content, in characters per second."""
        if self.first_delta_at is None or self.last_delta_at is None:
            return 0.0
        took = self.last_delta_at - self.first_delta_at
        return self.characters / took if took > 0 else 0.0
