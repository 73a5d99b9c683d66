"""Functions of `nbchat` that read conversations from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nbchat.core.clock import now
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import CreateSession
from nbchat.core.messages import Message, TextPart
from nbchat.core.settings import SettingsPatch
from nbchat.core.tracebacks import short_traceback
from nbchat.jupyter.process import current

if TYPE_CHECKING:
    from nbchat.export.reading import Imported
    from nbchat.handles.session import Session


@short_traceback
def load(path: str | os.PathLike[str]) -> list[Session]:
    """Load the conversations of a saved notebook into this kernel, and return them.

    They are merged with the existing sessions, and nothing is sent. Their models, instructions and
    parameters are shown but not used until `Session.adopt()`, unless this user's journal has the same values.

    Raises
    ------
    OSError
        If the file cannot be read.
    SnapshotError
        If it contains no readable conversations.

    Examples
    --------
    >>> for session in nbchat.load("chat.ipynb"):
    ...     print(session.title)
    """
    from nbchat.export.reading import from_notebook  # noqa: PLC0415 - only when it is used

    return current().registry.restore(from_notebook(Path(path)))


@short_traceback
def import_(path: str | os.PathLike[str]) -> list[Session]:
    """Create sessions from the conversations in a JSONL or Markdown file, and return them.

    Parameters
    ----------
    path
        A `.jsonl` file with `{"messages": [{"role": …, "content": …}, …]}` in each line, a Markdown file with
        headings such as `## User`, or a notebook, as for `load`.

    Raises
    ------
    OSError
        If the file cannot be read.
    SnapshotError
        If its content is not in one of these formats.

    Examples
    --------
    >>> (talk,) = nbchat.import_("talk.md")
    >>> [message.role for message in talk.messages]
    ['user', 'assistant']
    """
    from nbchat.export.reading import from_jsonl, from_markdown  # noqa: PLC0415 - only when it is used

    file = Path(path)
    if file.suffix.lower() == ".ipynb":
        return load(file)
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    read = from_jsonl if file.suffix.lower() in (".jsonl", ".ndjson", ".json") else from_markdown
    return [_imported(found) for found in list(read(text, file.stem))]


def _imported(found: Imported) -> Session:
    """Create a session from a conversation written by another program."""
    process = current()
    process.host.restore_once()
    messages: list[Message] = []
    for role, turn in found.turns:
        parent = messages[-1].id if messages else None
        part = TextPart(text=turn)
        messages.append(
            Message(id=new_id("m-"), role=role, parts=(part,), created_at=now(), parent_id=parent)
        )
    # Instructions from a file are not used until `Session.adopt()`.
    instructions = found.instructions or None
    settings = SettingsPatch(title=found.title, instructions=instructions, from_file=instructions is not None)
    command = CreateSession(
        id=new_id("c-"), session_id=new_id("s-"), settings=settings, messages=tuple(messages)
    )
    return process.registry[process.backend.execute(command).session_id or ""]
