"""`view` shows a comparison in a notebook: its sessions side by side, and a table updated by its runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import ipywidgets

from nbchat.jupyter.representations import of_table
from nbchat.jupyter.views import SessionView

if TYPE_CHECKING:
    from collections.abc import Callable

    from nbchat.batch.compare import Comparison
    from nbchat.engine.callbacks import Notification
    from nbchat.jupyter.host import JupyterHost

MIN_WIDTH = "22rem"
"""Minimum width of a session's view. In a narrower output the views are stacked."""


def view(comparison: Comparison, host: JupyterHost, **kwargs: Any) -> Any:  # noqa: ANN401 - IPython's protocol
    """Return the MIME bundle of a comparison's live view, with its table for hosts without widgets."""
    table = ipywidgets.HTML(_html(comparison))
    table.add_class("jp-RenderedHTMLCommon")  # the notebook's own style of tables
    grid = ipywidgets.GridBox(
        [SessionView(session, host, height="auto") for session in comparison],
        layout={
            "grid_template_columns": f"repeat(auto-fit, minmax(min({MIN_WIDTH}, 100%), 1fr))",
            "grid_gap": "8px",
            "align_items": "flex-start",
        },
    )
    _follow(comparison, table)
    shown = ipywidgets.VBox([grid, table])._repr_mimebundle_(**kwargs)
    bundle = dict(shown[0] if isinstance(shown, tuple) else shown)
    return bundle | of_table(comparison.table())


def _follow(comparison: Comparison, table: ipywidgets.HTML) -> None:
    """Update the table when a run ends, until all runs have ended."""
    offs: list[Callable[[], None]] = []
    lock = threading.Lock()

    def draw(_notification: Notification | None = None) -> None:
        with lock:
            # Read before the table: a run that ends while the table is written is drawn by its own callback.
            over = all(run.is_over for run in comparison.runs)
            table.value = _html(comparison)
            while over and offs:
                offs.pop()()

    offs.extend(session.on("end", draw) for session in comparison)
    draw()


def _html(comparison: Comparison) -> str:
    return of_table(comparison.table())["text/html"]
