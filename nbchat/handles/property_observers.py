"""`session.observe(handler, names)`: changes of a session's properties, told as traitlets tells them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from nbchat.engine.callbacks import Notification
    from nbchat.handles.session import Session

NAMES: Final = ("closed", "instructions", "messages", "model", "params", "pinned", "run", "status", "title")
"""Properties that can be observed."""

EVENTS: Final = ("changed", "closed", "end", "message", "queued", "transition")
"""Events after which one of them may have changed."""


class Change(Struct, frozen=True, kw_only=True):
    """What a handler gets: as traitlets' change, by attribute or by key."""

    name: str
    old: Any
    new: Any
    owner: Session
    type: Literal["change"] = "change"

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - the attribute's
        return getattr(self, key)


Handler = Callable[[Change], object]


def observe(session: Session, handler: Handler, names: str | Iterable[str]) -> Callable[[], None]:
    """Call `handler` with a `Change` for each change; return the function that ends that.

    Raises
    ------
    TypeError
        The handler cannot be called.
    ValueError
        There is no such property.
    """
    if not callable(handler):
        raise TypeError(f"the handler must be callable, not {handler!r}.")
    if not isinstance(names, Iterable):
        raise TypeError(f"names are one or more of {', '.join(NAMES)}, not {names!r}.")
    watched = (names,) if isinstance(names, str) else tuple(names)
    for name in watched:
        if name not in NAMES:
            raise ValueError(f"a session's {name!r} cannot be observed; it has {', '.join(NAMES)}.")
    lock = threading.Lock()
    seen = {name: getattr(session, name) for name in watched}

    def look(_notification: Notification) -> None:
        with lock:
            changes = [
                Change(name=name, old=old, new=new, owner=session)
                for name, old in seen.items()
                if (new := getattr(session, name)) != old
            ]
            seen.update({change.name: change.new for change in changes})
        for change in changes:
            handler(change)

    ends = [session.on(event, look) for event in EVENTS]

    def off() -> None:
        for end in ends:
            end()

    return off
