"""`Limits`: the limits of an engine; every value can be changed at any time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

_MAY_BE_NONE: Final = frozenset(
    {"total_s", "idle_s", "first_token_s", "sessions", "total_chars", "unsaved_s"}
)


@dataclass(slots=True, kw_only=True)
class Limits:
    """Limits of a registry, as `registry.limits`. Invalid values are refused.

    Seconds end in `_s`, characters in `_chars`. A change applies to runs that start later, and to live runs
    at the next check of their deadlines.

    Examples
    --------
    >>> nbchat.registry.limits.first_token_s = 600  # a large model that is loaded first
    >>> nbchat.Limits().live_runs
    32
    """

    connect_s: float = 10.0
    """For the connection: DNS, TCP, TLS."""
    first_token_s: float | None = 120.0
    """From the request to the first piece of content. `None` disables this limit."""
    idle_s: float | None = 120.0
    """Between two pieces of content; pings do not count. `None` disables this limit."""
    total_s: float | None = None
    """For one run, pauses not counted. `None` disables this limit."""
    stop_s: float = 0.4
    """After a stop, the time a provider has to close before the run is settled without it."""
    pause_limit_s: float = 60.0
    """After this the connection of a paused run is closed, and the run is `interrupted`."""
    stale_s: float = 900.0
    """Silence after which `cleanup_stale` ends a run when it runs by itself."""
    orphan_s: float = 600.0
    """With a runner: the time for which runs continue after their last kernel has vanished."""
    runner_idle_s: float = 300.0
    """With a runner: it ends after this time without a kernel and without a live run.

    In a service, the sessions leave memory after it.
    """
    retries: int = 2
    """Attempts after the first, before the first token only."""
    retry_after_s: float = 120.0
    """The longest wait that a server may ask for; a longer one fails the run at once."""
    live_runs: int = 32
    """Runs that may have a connection at the same time; others wait as `queued`."""
    queue: int = 100
    """Prompts that may wait in one session."""
    tool_s: float = 120.0
    """For one tool call, from its start; a tool may have its own limit."""
    tool_rounds: int = 8
    """Requests with results of tools in one run. Calls after the last one are shown and not run."""
    answer_chars: int = 2_000_000
    """Characters of one answer."""
    session_chars: int = 20_000_000
    """Characters held by one session, all versions together."""
    sessions: int | None = 10_000
    """Sessions in memory. Beyond it, the longest idle, saved and unpinned one is evicted."""
    total_chars: int | None = 200_000_000
    """Characters in memory, all sessions together."""
    unsaved_s: float | None = 60.0
    """Age of events that could not be saved at which the event `alert` is emitted. `None`: it is not."""
    cache_bytes: int = 200_000_000
    """Size of the file with the answers of requests with `cache=True`."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set a limit; raises as `check_limit` does."""
        check_limit(name, value)
        object.__setattr__(self, name, value)

    def update(self, values: Mapping[str, object]) -> None:
        """Set limits, all or none; raises as `check_limit` does."""
        for name, value in values.items():
            check_limit(name, value)
        for name, value in values.items():
            object.__setattr__(self, name, value)


def check_limit(name: str, value: object) -> None:
    """Check the value of a limit.

    Raises
    ------
    AttributeError
        If there is no such limit.
    TypeError, ValueError
        If the value is not a positive, finite number.
    """
    known = {f.name: f for f in fields(Limits)}
    if name not in known:
        raise AttributeError(f"unknown limit {name!r}; expected one of: {', '.join(known)}.")
    if value is None:
        if name not in _MAY_BE_NONE:
            raise ValueError(f"limits.{name} must be a number; it cannot be disabled.")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"limits.{name} must be a number, not {value!r}.")
    elif not math.isfinite(value) or value < 0 or (value == 0 and name != "retries"):
        raise ValueError(f"limits.{name} must be positive and finite, not {value!r}.")
    elif "int" in str(known[name].type) and not isinstance(value, int):
        raise TypeError(f"limits.{name} must be a whole number, not {value!r}.")
