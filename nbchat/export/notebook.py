"""A notebook: one Markdown cell for each message, and the conversations themselves in its metadata."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

from nbchat.core.messages import Message
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.snapshot import KEY, dump
from nbchat.core.transcript import SessionState
from nbchat.export.markdown import SPEAKERS, inert, inert_line, parts, sources


def to_ipynb(states: Sequence[SessionState]) -> str:
    """Return conversations as a notebook of format 4.5, which `nbchat.load` reads in again."""
    cells: list[dict[str, Any]] = []

    def add(text: str) -> None:
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
        add(f"# {inert_line(state.title) or 'Chat'}")
        if state.settings.instructions:
            add(f"**{SPEAKERS['system']}**\n\n{inert(state.settings.instructions)}")
        for message in map(Message.as_shown, state.path):
            text = "\n\n".join([*parts(message), *([sources(message)] if message.sources else [])])
            add(f"**{SPEAKERS[message.role]}**\n\n{text}".rstrip())
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
