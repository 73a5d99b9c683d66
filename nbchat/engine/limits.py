"""What the kernel allows, in one place; every value can be changed at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

_MAY_BE_NONE: Final = frozenset({"total_s", "idle_s", "first_token_s", "sessions", "total_chars"})


@dataclass(slots=True, kw_only=True)
class Limits:
    """Limits of a registry, as `registry.limits`. Assigning a value that makes no sense is refused.

    Seconds end in `_s`, characters in `_chars`. What is changed holds for runs that start later, and for
    the next tick of the clocks of those that are live.

    Examples
    --------
    >>> nbchat.registry.limits.first_token_s = 600  # a large model that is loaded first
    >>> nbchat.Limits().live_runs
    32
    """

    connect_s: float = 10.0
    """For the connection: name, TCP, TLS."""
    first_token_s: float | None = 120.0
    """From the request to the first piece of content. None: none."""
    idle_s: float | None = 120.0
    """Between two pieces of content; pings do not count. None: none."""
    total_s: float | None = None
    """For one run, pauses not counted. None: none."""
    stop_s: float = 0.4
    """After a stop, the time a provider has to close before the run is settled without it."""
    pause_limit_s: float = 60.0
    """After this the connection of a paused run is closed, and the run is `interrupted`."""
    stale_s: float = 900.0
    """Silence after which `cleanup_stale` ends a run when it runs by itself."""
    retries: int = 2
    """Attempts after the first, before the first token only."""
    retry_after_s: float = 120.0
    """The longest wait that a server may ask for; a longer one fails the run at once."""
    live_runs: int = 32
    """Runs that may have a connection at the same time; others wait as `queued`."""
    queue: int = 100
    """Prompts that may wait in one session."""
    answer_chars: int = 2_000_000
    """Characters of one answer."""
    session_chars: int = 20_000_000
    """Characters held by one session, all versions together."""
    sessions: int | None = 10_000
    """Sessions in memory. Beyond it, the longest idle, saved and unpinned one is evicted."""
    total_chars: int | None = 200_000_000
    """Characters in memory, all sessions together."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set a limit.

        Raises
        ------
        AttributeError
            There is no such limit.
        TypeError, ValueError
            The value is not a positive, finite number.
        """
        known = {f.name: f for f in fields(Limits)}
        if name not in known:
            raise AttributeError(f"there is no limit {name!r}; the limits are {', '.join(known)}.")
        if value is None:
            if name not in _MAY_BE_NONE:
                raise ValueError(f"limits.{name} must be a number; it cannot be switched off.")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"limits.{name} must be a number, not {value!r}.")
        elif not math.isfinite(value) or value < 0 or (value == 0 and name != "retries"):
            raise ValueError(f"limits.{name} must be positive and finite, not {value!r}.")
        elif "int" in str(known[name].type) and not isinstance(value, int):
            raise TypeError(f"limits.{name} must be a whole number, not {value!r}.")
        object.__setattr__(self, name, value)
