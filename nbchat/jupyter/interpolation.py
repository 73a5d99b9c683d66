"""`{name}` in a prompt stands for a variable, where there is one.

Prompts are full of braces that mean something else: JSON, LaTeX, code. So a brace is only taken where
a variable of that name is there, with what may follow it (`.attribute`, `[key]` with quotes or without,
`!r`, `:format`); all other text goes out as it was written.
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


_STEP: Final = re.compile(
    r"""
    \.(?P<attribute>\w+)
    | \[\s*(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\s*\]   # ['key'], as in an f-string
    | \[(?P<key>[^\]]+)\]                                # [key], as in a format string, or [0]
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
        found = _look_up(path, names)
        if match["conversion"]:
            found = formatter.convert_field(found, match["conversion"])
        return format(found, match["format"] or "")

    return _FIELD.sub(value, text)


def _look_up(path: str, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a variable's value
    name = re.split(r"[.\[]", path, maxsplit=1)[0]
    found = names[name]
    for step in _STEP.finditer(path, len(name)):
        if step["attribute"]:
            found = getattr(found, step["attribute"])
        elif step["quote"]:
            found = found[step["quoted"]]
        else:
            key = step["key"]
            found = found[int(key) if re.fullmatch(r"-?[0-9]+", key) else key]
    return found
