"""Registers IPython formatters that show nbchat's values in cells as `text/html` and `text/plain`.

The values themselves have no HTML. Text from models and servers is converted to HTML only by
`nbchat.export.sanitized`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython import get_ipython

from nbchat.core.messages import ImagePart, Message
from nbchat.core.run import RunState
from nbchat.core.text import printable, split_thought
from nbchat.core.text_table import Table
from nbchat.engine.config import Configuration
from nbchat.handles.run import Run
from nbchat.jupyter.imports import load

if TYPE_CHECKING:
    from nbchat.batch.results import Result

Bundle = dict[str, str]
"""An output's MIME types and their texts."""


def register(show_run: Callable[[Run], bool]) -> None:
    """Register the formatters with the running IPython, if there is one.

    Parameters
    ----------
    show_run
        Displays a live run in an output that is updated; returns False if it did not.
    """
    shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
    if shell is None:
        return
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type(Message, _ignoring_options(of_message))
    formatter.for_type(Run, _ignoring_options(of_run))

    def show(run: Run) -> None:
        if not show_run(run):
            raise NotImplementedError  # IPython uses the formatter above

    shell.display_formatter.ipython_display_formatter.for_type(Run, show)
    formatter.for_type(Table, _ignoring_options(of_table))
    formatter.for_type(Configuration, _ignoring_options(of_configuration))
    # By name, because `nbchat.batch` is imported when it is used.
    formatter.for_type_by_name("nbchat.batch.results", "Result", _ignoring_options(of_result))


def _ignoring_options(show: Callable[[Any], Bundle]) -> Callable[..., Bundle]:
    def shown(value: Any, **_options: Any) -> Bundle:  # noqa: ANN401 - IPython's protocol
        return show(value)

    return shown


def of_text(text: str, ending: str = "", message: Message | None = None) -> Bundle:
    """Return the text of an answer as an output, with the line `ending` below it.

    Parameters
    ----------
    message
        The complete answer, if known: the names of its images, its notices and its sources are shown.
    """
    load("nbchat.export.sanitized", "nbchat.export.turns")
    from nbchat.export.sanitized import fragment, plain, sanitize  # noqa: PLC0415 - loaded when it is used
    from nbchat.export.turns import beside, image  # noqa: PLC0415 - as the line above

    text = split_thought(text)[1]
    html, lines = [fragment(text)], [text]
    if message is not None:
        images = [part for part in message.parts if isinstance(part, ImagePart)]
        html.append(sanitize("\n".join([*map(image, images), beside(message)]).strip()))
        lines += [*(f"Image: {part.name or 'without a name'}" for part in images), *message.notices]
    if ending:
        html.append(f"<p><em>{plain(ending)}</em></p>")
        lines.append(ending)
    return {"text/html": "".join(html), "text/plain": printable("\n\n".join(filter(None, lines)))}


def of_message(message: Message) -> Bundle:
    """Return a message's text as an output."""
    return of_text(message.text, message=message)


def of_run(run: Run) -> Bundle:
    """Return a run's text as an output, with its state and its error."""
    error = f": {run.error}" if run.error is not None else ""
    # Where this is used, the output of a live run is not updated; see `line_of`.
    live = "" if run.is_over else ", when this was shown; it continues in the background"
    return of_text(run.text, f"{run.state}{error}{live}", run.message if run.is_over else None)


def line_of(run: Run) -> Bundle:
    """Return a run as an output that is updated: a line while it is live, then its text."""
    return of_run(run) if run.is_over else of_text("", _progress(run))


def _progress(run: Run) -> str:
    now = run.progress
    facts = []
    if now.position is not None:
        facts.append(f"position {now.position} in the queue")
    if now.state is RunState.RETRYING:
        facts.append(f"attempt {now.attempt + 1} of {now.attempts + 1}")
    if now.characters:
        facts.append(f"{now.characters:,} characters")
    if now.started_at is not None:
        facts.append(f"{now.elapsed_s:.0f} s")
    return f"{now.state}: {', '.join(facts)}" if facts else str(now.state)


def of_result(result: Result) -> Bundle:
    """Return the answer or the error of one prompt of a batch as an output."""
    if result.error is None:
        return of_text(result.text)
    return of_text("", f"{result.error.code}: {result.error}")


def of_table(shown: Table) -> Bundle:
    """Return a table as an output."""
    load("nbchat.export.sanitized")
    from nbchat.export.sanitized import table  # noqa: PLC0415 - loaded when something is shown

    return {"text/html": table(shown.columns, shown.texts), "text/plain": printable(repr(shown))}


def of_configuration(configuration: Configuration) -> Bundle:
    """Return the effective values as an output."""
    return of_table(configuration.table())
