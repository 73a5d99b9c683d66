"""Marks in an exported Markdown file, by which it is read again."""

from __future__ import annotations

from typing import Final

MARK: Final = "<!-- nbchat: {} {} -->"
"""Stands before every heading of ours: what begins there, and the file's key.

The key occurs in no text of the file, so that no text can contain a mark.
"""

SEPARATOR: Final = "\n\n---"
"""Stands between two conversations."""
