"""Import of conversations from notebooks, JSON Lines and Markdown."""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nbchat.core.errors import SnapshotCorrupt, SnapshotTooLarge
from nbchat.core.messages import Role
from nbchat.core.saved import Snapshot
from nbchat.core.snapshot import KEY, loads, parse
from nbchat.core.text import clean, cut
from nbchat.export.marks import MARK, SEPARATOR

MAX_FILE: Final = 512 * 1024 * 1024
"""Maximum bytes of a notebook that is read; its outputs may be large."""

_MARK: Final = re.compile(
    r"^<!-- nbchat: (session|system|user|refused|assistant|tool) ([0-9a-f]{8}) -->$", re.MULTILINE
)
_HEADING: Final = re.compile(
    r"^#{1,6}\s*\**(User|You|Human|Assistant|AI|ChatGPT|Claude|Instructions|System)\**:?\**\s*$",
    re.MULTILINE | re.IGNORECASE,
)
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$", re.MULTILINE)
_ROLES: Final[Mapping[str, Role]] = {
    **dict.fromkeys(("user", "you", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "chatgpt", "claude"), "assistant"),
    **dict.fromkeys(("system", "instructions", "developer"), "system"),
    "tool": "tool",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A conversation written by another program."""

    title: str
    instructions: str
    turns: tuple[tuple[Role, str], ...]


def notebook_in(path: Path) -> dict[str, Any]:
    """Return a notebook's JSON.

    Raises
    ------
    OSError
        If the file cannot be read.
    SnapshotCorrupt, SnapshotTooLarge
        If it is not a notebook, or too large.
    """
    if (size := path.stat().st_size) > MAX_FILE:
        raise SnapshotTooLarge(f"{path.name} has {size:,} bytes; at most {MAX_FILE:,} are read.")
    try:
        notebook = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SnapshotCorrupt(f"{path.name} is not a notebook: {str(error)[:120]}.") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("metadata"), dict):
        raise SnapshotCorrupt(f"{path.name} is not a notebook: it has no metadata.")
    return notebook


def saved_in(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value under nbchat's key in a notebook's metadata, or `None`; raises as `notebook_in`."""
    return notebook_in(path)["metadata"].get(KEY)


def from_notebook(path: Path) -> Snapshot:
    """Return the conversations in a saved notebook, without a kernel.

    Raises
    ------
    OSError
        If the file cannot be read.
    SnapshotError
        If it contains no readable conversations.
    """
    value = saved_in(path)
    if value is None:
        raise SnapshotCorrupt(
            f"{path.name} has no conversations in its metadata.", hint="Open it, show a chat, and save it."
        )
    return parse(value)


def from_jsonl(text: str, name: str = "Imported") -> Iterator[Imported]:
    """Yield the conversations of JSON Lines, each `{"messages": [{"role": …, "content": …}, …]}`.

    Raises
    ------
    SnapshotCorrupt
        If a line has another form; the message contains its number.
    """
    # Not `splitlines`: JSON may contain U+2028 and similar characters unescaped, which do not end a line.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        data = loads(line)
        messages = data.get("messages") if isinstance(data, dict) else data
        if not isinstance(messages, list):
            raise SnapshotCorrupt(f"line {number} has no list of messages.")
        turns = [_turn(message, number) for message in messages]
        yield _imported(turns, f"{name} {number}" if number > 1 else name)


def _turn(message: object, line: int) -> tuple[Role, str]:
    role = message.get("role") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):  # parts, as in the chat API
        content = "".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    known = _ROLES.get(role) if isinstance(role, str) else None
    if known is None or not isinstance(content, str | None):
        raise SnapshotCorrupt(f"line {line} has a message without a role and a text.")
    return known, clean(content or "")


def from_markdown(text: str, name: str = "Imported") -> list[Imported]:
    """Return the conversations of a Markdown file, exported by nbchat or with headings such as `## User`.

    Reasoning is omitted. Questions that a server refused are also omitted, since it would refuse them again.
    """
    text = clean(text.replace("\r\n", "\n")).lstrip("\ufeff\n ")
    if begin := _MARK.match(text):
        # A marker with another key is part of a message.
        return list(_from_marks(text, [mark for mark in _MARK.finditer(text) if mark[2] == begin[2]]))
    blocks = _blocks(text)
    headings = list(_outside(blocks, _HEADING.finditer(text)))
    if not headings:
        return [_imported([("user", text.strip())], name)] if text.strip() else []
    turns = []
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        body = text[heading.end() : following.start() if following else len(text)]
        turns.append((_ROLES[heading[1].lower()], body.strip()))
    first = text[: headings[0].start()].strip().lstrip("# ").split("\n")[0]
    return [_imported(turns, first or name)]


def _blocks(text: str) -> list[range]:
    """Return the ranges of closed fenced code blocks, in order."""
    found: list[range] = []
    begun: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if begun is None:
            begun = fence if "`" not in fence[2] else None
        elif fence[1].startswith(begun[1]) and not fence[2].strip():
            found.append(range(begun.start(), fence.end()))
            begun = None
    return found


def _outside(blocks: list[range], matches: Iterator[re.Match[str]]) -> Iterator[re.Match[str]]:
    starts = [block.start for block in blocks]
    for match in matches:
        at = bisect(starts, match.start()) - 1
        if at < 0 or match.start() not in blocks[at]:
            yield match


def _from_marks(text: str, marks: list[re.Match[str]]) -> Iterator[Imported]:
    title, begun = "", False
    turns: list[tuple[Role, str]] = []
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.end() + 1 : following.start() if following else len(text)]
        heading, _, body = body.partition("\n")
        if mark[1] == "session":
            if begun:
                yield _imported(turns, title)
            title, turns, begun = heading.removeprefix("# "), [], True
        elif mark[1] != "refused":
            body = body.removeprefix("\n").removesuffix("\n\n" if following else "\n")
            if following and following[1] == "session":
                body = body.removesuffix(SEPARATOR)
            turns.append((_ROLES[mark[1]], _answer(body, mark[2])))
    yield _imported(turns, title)


def _answer(body: str, key: str) -> str:
    """Return the text of a turn without its reasoning and its sources."""
    reasoning, sources = (re.escape(MARK.format(name, key)) for name in ("reasoning", "sources"))
    body = re.sub(rf"^{reasoning}\n(?:>.*(?:\n|\Z))*\n?", "", body, flags=re.MULTILINE)
    return re.sub(rf"(?:\n\n|\A){sources}\n(?:.+(?:\n|\Z))*", "", body)


def _imported(turns: list[tuple[Role, str]], title: str) -> Imported:
    instructions = "\n\n".join(text for role, text in turns if role == "system")
    return Imported(
        title=cut(clean(title), 200),
        instructions=instructions,
        turns=tuple((role, text) for role, text in turns if role == "user" or (role == "assistant" and text)),
    )
