"""`to_ipynb` writes a notebook: Markdown cells for messages, and the conversations in its metadata.

Code of `python` that was approved and run is a code cell with its output. Opening the notebook runs nothing.

Hosts render Markdown cells with different parsers, and some do not sanitize them. A cell therefore contains
no Markdown. It is one line of sanitized HTML, with all punctuation of texts as character references, so that
every parser produces the same HTML.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any, Final

from nbchat.core.calls import ToolCall
from nbchat.core.messages import Message, TextPart, ToolResultPart
from nbchat.core.run import RunRecord
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.snapshot import KEY, dump
from nbchat.core.text import printable
from nbchat.core.transcript import SessionState
from nbchat.export.calls import code_of, runs_of, shown_parts
from nbchat.export.deceptive import with_hidden_shown
from nbchat.export.turns import beside, call_title, html_of, pictures, section, speaker, title_of, turn_of

_TAG: Final = re.compile(r"""(<[a-zA-Z/](?:"[^"]*"|[^"<>])*>)""")
_VALUE: Final = re.compile(r'"([^"]*)"')
_PUNCTUATION: Final = re.compile(r"[^\w ]|_")
_PICTURE: Final = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/=\s]+)")
_ERROR: Final = re.compile(r"([A-Za-z_][\w.]*): ?(.*)")
"""The line of a traceback with the type of the error and its message."""


def to_ipynb(states: Sequence[SessionState]) -> str:
    """Return conversations as a notebook of format 4.5, which `nbchat.load` can load."""
    cells: list[dict[str, Any]] = []

    def add(kind: str, text: str, **fields: Any) -> None:  # noqa: ANN401 - any JSON value
        name = f"nbchat-{len(cells)}-{zlib.crc32(text.encode('utf-8', 'replace')):08x}"
        cells.append({"cell_type": kind, "id": name, "metadata": {}, "source": text, **fields})

    for state in states:
        add("markdown", _opaque(title_of(state).html))
        if state.settings.instructions:
            part = TextPart(text=state.settings.instructions)
            message = Message(id="instructions", role="system", parts=(part,))
            add("markdown", _opaque(turn_of(message).html))
        runs = runs_of(state)
        for message in state.path:
            for piece in _pieces(message, runs.get(message.id)):
                if isinstance(piece, str):
                    add("markdown", _opaque(piece))
                else:
                    add("code", piece.code, execution_count=None, outputs=piece.outputs)
    sessions = tuple(SavedSession(state=state, clock={"export": state.seq}) for state in states)
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
            "language_info": {"name": "python"},
            KEY: dump(Snapshot(sessions=sessions)),
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class _Cell:
    """A code cell with its outputs."""

    code: str
    outputs: list[dict[str, Any]]


def _pieces(message: Message, run: RunRecord | None) -> Iterator[str | _Cell]:
    """Yield a message as the HTML of Markdown cells, and its code that was run as code cells."""
    who = speaker(message)
    html: list[str] = []
    for part in shown_parts(message, run):
        if isinstance(part, ToolCall) and (cell := _cell_of(part)) is not None:
            html.append(call_title(part))
            yield section("\n".join(html), who)
            yield cell
            who, html = "", []
        else:
            html += html_of([part])
    end = beside(message)
    if who or html or end:
        yield section("\n".join([*html, end]), who)


def _cell_of(call: ToolCall) -> _Cell | None:
    """Return code that was run; `None` for other calls, and for code with hidden characters.

    A reader cannot check hidden characters in a code cell. In a Markdown cell they are marked.
    """
    code = code_of(call)
    if call.state != "ran" or call.result is None or code is None:
        return None
    if with_hidden_shown(printable(code)) != code:
        return None
    return _Cell(code, list(_outputs(call.result, call.name)))


def _outputs(result: ToolResultPart, name: str) -> Iterator[dict[str, Any]]:
    """Yield the text of a result, as printed or as an error, and its pictures."""
    text = with_hidden_shown(printable(result.text))
    if result.is_error:
        lines = text.split("\n")
        found = next(filter(None, map(_ERROR.fullmatch, reversed(lines))), None)
        kind, value = found.groups() if found else ("Error", "")
        yield {"output_type": "error", "ename": kind, "evalue": value, "traceback": lines}
    elif text:
        yield {"output_type": "stream", "name": "stdout", "text": text}
    for picture in pictures(result, name):
        if found := _PICTURE.fullmatch(picture.text):
            data = {found[1]: "".join(found[2].split()), "text/plain": f"[{picture.name}]"}
            yield {"output_type": "display_data", "data": data, "metadata": {}}


def _opaque(html: str) -> str:
    """Return sanitized HTML as one block on one line, without Markdown's special characters in its texts."""
    pieces = _TAG.split(html)  # alternating texts and tags
    pieces[0::2] = [_references(text) for text in pieces[0::2]]
    pieces[1::2] = [_VALUE.sub(lambda value: f'"{_references(value[1])}"', tag) for tag in pieces[1::2]]
    return f"<div>{''.join(pieces)}</div>"


def _references(text: str) -> str:
    return _PUNCTUATION.sub(lambda found: f"&#{ord(found[0])};", unescape(text))
