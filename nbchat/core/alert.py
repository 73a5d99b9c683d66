"""`Alert`: a limit of the kernel that was reached."""

from __future__ import annotations

from typing import Literal

from nbchat.core.values import FiniteFloat, Value

AlertKind = Literal["memory", "queue", "unsaved"]


class Alert(Value, frozen=True, kw_only=True):
    """A limit that was reached: the `data` of the event `alert`.

    Examples
    --------
    >>> off = nbchat.registry.on("alert", lambda event: print(event.data))
    >>> off()
    """

    kind: AlertKind
    """`memory`: characters in memory. `queue`: queued prompts of one session, whose id the notification has.
    `unsaved`: seconds for which events could not be saved."""
    value: FiniteFloat
    """The value that reached the limit."""
    limit: FiniteFloat
    """The limit: `total_chars`, `queue` or `unsaved_s` of `registry.limits`."""
    hint: str
    """The consequence, and what to do."""

    def __str__(self) -> str:
        """Return one line with all fields."""
        return f"{self.kind}: {self.value:,.0f}, the limit is {self.limit:,.0f}. {self.hint}"
