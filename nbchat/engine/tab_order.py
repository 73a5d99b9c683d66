"""`moved`: order of tabs. Each session has a rank, and a moved one gets a rank between its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState

STEP: Final = 1.0
"""Distance between renumbered ranks, in seconds: a rank is initially the time of creation."""


def moved(
    states: Iterable[SessionState], one: SessionState, before: SessionState | None
) -> Mapping[str, float]:
    """Return the changed ranks, by id, when one session's tab moves in front of another's.

    Pinned tabs come before all others, and each kind has its own order. Moving a tab in front of one of the
    other kind moves it to that end of its own kind.

    Parameters
    ----------
    states
        All sessions, `one` and `before` included, in any order.
    before
        `None` moves it behind all others.

    Returns
    -------
    One rank, if there is a number between those of the neighbours; else new ranks for all.
    """
    pinned = one.settings.pinned
    others = sorted(
        (state for state in states if state.settings.pinned == pinned and state.id != one.id),
        key=lambda state: (state.rank, state.id),
    )
    if not others or (before is not None and before.id == one.id):
        return {}
    at = len(others)
    if before is not None:
        at = next((i for i, state in enumerate(others) if state.id == before.id), at if pinned else 0)
    if at == 0:
        return {one.id: others[0].rank - STEP}
    if at == len(others):
        return {one.id: others[-1].rank + STEP}
    low, high = others[at - 1].rank, others[at].rank
    between = low + (high - low) / 2
    if low < between < high:
        return {one.id: between}
    order = [*others[:at], one, *others[at:]]
    return {state.id: others[0].rank + i * STEP for i, state in enumerate(order)}
