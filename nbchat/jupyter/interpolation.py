"""`{name}` in a prompt stands for a variable, where there is one.

Prompts are full of braces that mean something else: JSON, LaTeX, code. So a brace is only taken where
a variable of that name is there, with what may follow it (`.attribute`, `[key]`, `!r`, `:format`); all
other text goes out as it was written.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any, Final

_FIELD: Final = re.compile(
    r"""
    \{\{(?P<literal>[^{}]*)\}\}                       # {{name}}: the braces themselves
    | (?<![\\\w$^}])                                  # not \frac{a}, ${name}, x^{2} or \frac{a}{b}
      \{(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[[^\[\]{}]+\])*)
      (?:!(?P<conversion>[rsa]))?(?::(?P<format>[^{}]*))?\}
    """,
    re.VERBOSE,
)


def interpolate(text: str, names: Mapping[str, Any]) -> str:
    """Return `text` with `{name}` replaced by the value of the variable.

    Raises
    ------
    AttributeError, KeyError, IndexError, TypeError, ValueError
        The variable is there, and has no such attribute, key or format.

    Examples
    --------
    >>> interpolate("How long is the {river}? {{river}} {other}", {"river": "Seine"})
    'How long is the Seine? {river} {other}'
    """
    formatter = string.Formatter()

    def value(match: re.Match[str]) -> str:
        if match["literal"] is not None:
            return "{" + match["literal"] + "}"
        path = match["path"]
        if re.split(r"[.\[]", path, maxsplit=1)[0] not in names:
            return match[0]
        found, _ = formatter.get_field(path, (), names)
        if match["conversion"]:
            found = formatter.convert_field(found, match["conversion"])
        return format(found, match["format"] or "")

    return _FIELD.sub(value, text)
