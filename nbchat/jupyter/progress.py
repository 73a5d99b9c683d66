"""`bar` shows the progress of a batch in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbchat.batch.results import BatchProgress


def bar(total: int) -> tuple[Callable[[BatchProgress], None], Callable[[], None]] | None:
    """Show a bar in this cell's output. Return functions to update and end it; `None` outside a notebook."""
    from IPython import get_ipython  # noqa: PLC0415 - called only where it is loaded
    from IPython.display import display  # noqa: PLC0415

    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    if getattr(shell, "kernel", None) is None:
        return None
    import ipywidgets  # noqa: PLC0415 - used in kernels only

    shown = ipywidgets.IntProgress(max=max(total, 1), layout={"width": "40%"})
    text = ipywidgets.Label()
    display(ipywidgets.HBox([shown, text]))  # type: ignore[no-untyped-call,unused-ignore]

    def update(now: BatchProgress) -> None:
        shown.value = now.done
        shown.bar_style = "warning" if now.failed else ""
        text.value = str(now)

    def end() -> None:
        if not shown.bar_style and shown.value == shown.max:
            shown.bar_style = "success"

    return update, end
