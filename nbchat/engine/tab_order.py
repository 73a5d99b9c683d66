"""The order of tabs: each session has a number, and moving one gives it another between its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState

STEP: Final = 1.0
"""Seconds between sessions that are numbered anew: ranks begin as the times at which sessions were made."""


def moved(
    states: Iterable[SessionState], one: SessionState, before: SessionState | None
) -> Mapping[str, float]:
    """Return the ranks that change, by id, when one session's tab goes in front of another's.

    Pinned tabs stand before all others, so each kind has an order of its own: in front of the other kind
    is at that end of one's own.

    Parameters
    ----------
    states
        All sessions, `one` and `before` included, in any order.
    before
        None: behind all others.

    Returns
    -------
    One rank, where there is a number between those of the neighbours; else new ones for all.
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
