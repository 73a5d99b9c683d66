"""`sound_tree`: repairs the message tree of a session state that was read from a file."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from nbchat.core.messages import Message
from nbchat.core.transcript import ROOT, SessionState


def sound_tree(state: SessionState) -> SessionState:
    """Return `state` with a valid tree: parents before children, no cycles, a path that ends.

    A message whose parent is missing is placed at the start of the transcript. A cycle is broken at its first
    message in the order of the record, so that the result is deterministic.
    """
    messages = state.messages
    placed = _placed(messages)
    selected = _selection(state.selected, placed)
    if list(placed) == list(messages) and placed == messages and selected == state.selected:
        return state
    return replace(state, messages=placed, selected=selected)


def _placed(messages: Mapping[str, Message]) -> dict[str, Message]:
    """Return messages with parents before their children, and without cycles."""
    placed: dict[str, Message] = {}
    for first in messages.values():
        way: dict[str, Message] = {}
        here: Message | None = first
        while here is not None and here.id not in placed and here.id not in way:
            way[here.id] = here
            here = messages.get(here.parent_id) if here.parent_id is not None else None
        chain = list(way.values())
        if here is not None and here.id in way:
            at = list(way).index(here.id)
            chain = [*chain[:at], *chain[at + 1 :], replace(here, parent_id=None)]
        for message in reversed(chain):
            placed[message.id] = message
    return placed


def _selection(chosen: Mapping[str, str], placed: Mapping[str, Message]) -> dict[str, str]:
    """Return the selected child of each message: the chosen one, else the newest."""
    selected: dict[str, str] = {}
    for parent, child in chosen.items():
        shown = placed.get(child)
        if shown is not None and _parent(shown, placed) == parent:
            selected[parent] = child
    for message in placed.values():
        parent = _parent(message, placed)
        if parent not in selected:
            selected[parent] = message.id
    return selected


def _parent(message: Message, placed: Mapping[str, Message]) -> str:
    parent = message.parent_id
    return parent if parent is not None and parent in placed else ROOT
