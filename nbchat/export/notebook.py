"""`to_ipynb` writes a notebook: a Markdown cell for each message, and the conversations in its metadata.

Hosts render Markdown cells with different parsers, and some do not sanitize them. A cell therefore contains
no Markdown. It is one line of sanitized HTML, with all punctuation of texts as character references, so that
every parser produces the same HTML.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from html import unescape
from typing import Any, Final

from nbchat.core.messages import Message, TextPart
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.snapshot import KEY, dump
from nbchat.core.transcript import SessionState
from nbchat.export.turns import title_of, turn_of

_TAG: Final = re.compile(r"""(<[a-zA-Z/](?:"[^"]*"|[^"<>])*>)""")
_VALUE: Final = re.compile(r'"([^"]*)"')
_PUNCTUATION: Final = re.compile(r"[^\w ]|_")


def to_ipynb(states: Sequence[SessionState]) -> str:
    """Return conversations as a notebook of format 4.5, which `nbchat.load` can load."""
    cells: list[dict[str, Any]] = []

    def add(html: str) -> None:
        text = _opaque(html)
        number = len(cells)
        cells.append(
            {
                "cell_type": "markdown",
                "id": f"nbchat-{number}-{zlib.crc32(text.encode('utf-8', 'replace')):08x}",
                "metadata": {},
                "source": text,
            }
        )

    for state in states:
        add(title_of(state).html)
        if state.settings.instructions:
            part = TextPart(text=state.settings.instructions)
            add(turn_of(Message(id="instructions", role="system", parts=(part,))).html)
        for message in state.path:
            add(turn_of(message).html)
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


def _opaque(html: str) -> str:
    """Return sanitized HTML as one block on one line, without Markdown's special characters in its texts."""
    pieces = _TAG.split(html)  # alternating texts and tags
    pieces[0::2] = [_references(text) for text in pieces[0::2]]
    pieces[1::2] = [_VALUE.sub(lambda value: f'"{_references(value[1])}"', tag) for tag in pieces[1::2]]
    return f"<div>{''.join(pieces)}</div>"


def _references(text: str) -> str:
    return _PUNCTUATION.sub(lambda found: f"&#{ord(found[0])};", unescape(text))
