"""Registers with IPython how nbchat's values are shown as results of cells: `text/html` and `text/plain`.

The values themselves have no HTML. What a model or a server wrote in them becomes markup by
`nbchat.export.sanitized` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from IPython import get_ipython

from nbchat.core.messages import Message, Source
from nbchat.core.text import printable, split_thought
from nbchat.core.text_table import Table
from nbchat.engine.config import Configuration
from nbchat.handles.run import Run

if TYPE_CHECKING:
    from nbchat.batch.results import Result

Bundle = dict[str, str]
"""An output's MIME types and their texts."""


def register() -> None:
    """Register with the running IPython; without one, do nothing."""
    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    if shell is None:
        return
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type(Message, _ignoring_options(of_message))
    formatter.for_type(Run, _ignoring_options(of_run))
    formatter.for_type(Table, _ignoring_options(of_table))
    formatter.for_type(Configuration, _ignoring_options(of_configuration))
    # By name: a batch is loaded when it is used.
    formatter.for_type_by_name("nbchat.batch.results", "Result", _ignoring_options(of_result))


def _ignoring_options(show: Callable[[Any], Bundle]) -> Callable[..., Bundle]:
    def shown(value: Any, **_options: Any) -> Bundle:  # noqa: ANN401 - IPython's protocol
        return show(value)

    return shown


def of_text(text: str, ending: str = "", cited: Sequence[Source] = ()) -> Bundle:
    """Return the text of an answer as an output, with what it cites and a line of ours below it."""
    from nbchat.export.sanitized import (  # noqa: PLC0415 - loaded when something is shown
        fragment,
        plain,
        sanitize,
        sources,
    )

    text = split_thought(text)[1]
    below = f"<p><em>{plain(ending)}</em></p>" if ending else ""
    lines = [text, ending] if ending else [text]
    return {
        "text/html": f"{fragment(text)}{sanitize(sources(cited))}{below}",
        "text/plain": printable("\n\n".join(filter(None, lines))),
    }


def of_message(message: Message) -> Bundle:
    """Return a message's text as an output."""
    return of_text(message.text, cited=message.sources)


def of_run(run: Run) -> Bundle:
    """Return a run's text as an output, with its state and its error."""
    error = f": {run.error}" if run.error is not None else ""
    # The result of a cell is not drawn again.
    live = "" if run.is_over else ", when this was shown; it continues in the background"
    return of_text(run.text, f"{run.state}{error}{live}")


def of_result(result: Result) -> Bundle:
    """Return the answer of one prompt of a batch as an output, or its error."""
    if result.error is None:
        return of_text(result.text)
    return of_text("", f"{result.error.code}: {result.error}")


def of_table(shown: Table) -> Bundle:
    """Return a table as an output."""
    from nbchat.export.sanitized import table  # noqa: PLC0415 - loaded when something is shown

    return {"text/html": table(shown.columns, shown.texts), "text/plain": printable(repr(shown))}


def of_configuration(configuration: Configuration) -> Bundle:
    """Return the values in force as an output."""
    return of_table(configuration.table())
