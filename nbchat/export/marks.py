"""Markers in an exported Markdown file that make it possible to import it."""

from __future__ import annotations

from typing import Final

MARK: Final = "<!-- nbchat: {} {} -->"
"""Marker before every heading that nbchat writes: the kind of section, and the file's key.

The key does not occur in the texts of the file, so a text cannot contain a valid marker.
"""

SEPARATOR: Final = "\n\n---"
"""Separator between two conversations."""
