r"""`interpolate`: fills fields `{name}` in the cells of `%%chat` and the templates of `nbchat.map`.

Prompts often contain other braces: JSON, LaTeX, code. Therefore only `{name}` is a field, optionally with
`.attribute`, `[key]` with or without quotes, `!r` or `:format`, and only if a value of that name is given.
`{{name}}` is the literal text `{name}`. All other text is unchanged, including braces of LaTeX and shells:
`\frac{a}{b}`, `x_{i}`, `x^{2}`, `${name}`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Container, Iterator, Mapping
from typing import Any, Final

_FIELD: Final = re.compile(
    r"""
    \{\{(?P<literal>[^{}]*)\}\}
    | \{(?P<path>(?P<name>[A-Za-z_]\w*|[0-9]+)(?:\.[A-Za-z_]\w*|\[[^\[\]{}]+\])*)
      (?:!(?P<conversion>[rsa]))?(?::(?P<format>[^{}]*))?\}
    """,
    re.VERBOSE,
)
_NO_FIELD_AFTER: Final = re.compile(r"[\\^_$}]$|\\[A-Za-z]+\*?$")
_LONGEST_COMMAND: Final = 40

_STEP: Final = re.compile(
    r"""
    \.(?P<attribute>\w+)
    | \[\s*(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\s*\]   # ['key'], as in an f-string
    | \[(?P<key>[^\]]+)\]                                # [key], as in a format string, or [0]
    """,
    re.VERBOSE,
)


def interpolate(text: str, values: Mapping[str, Any]) -> str:
    """Return `text` with each `{name}` replaced by the value of that name.

    Raises
    ------
    AttributeError, KeyError, IndexError, TypeError, ValueError
        If a value has no such attribute, key or format.

    Examples
    --------
    >>> interpolate("How long is the {river}? {{river}} {other}", {"river": "Seine"})
    'How long is the Seine? {river} {other}'
    """
    formatter = string.Formatter()
    pieces: list[str] = []
    position = 0
    for match in _matches(text, values):
        pieces.append(text[position : match.start()])
        position = match.end()
        if match["literal"] is not None:
            pieces.append("{" + match["literal"] + "}")
            continue
        found = _look_up(match["path"], values)
        if match["conversion"]:
            found = formatter.convert_field(found, match["conversion"])
        pieces.append(format(found, match["format"] or ""))
    return "".join([*pieces, text[position:]])


def field_names(text: str) -> list[str]:
    """Return the names of all fields of a template, in order.

    Examples
    --------
    >>> field_names('{a.b[0]!r:>3}{c} {{d}} {"e": 1} x_{i}')
    ['a', 'c']
    """
    return [match["name"] for match in _matches(text, None) if match["name"] is not None]


def _matches(text: str, names: Container[str] | None) -> Iterator[re.Match[str]]:
    """Yield the fields and literals of a text; with `names`, only fields of these names."""
    replaced = -1
    for match in _FIELD.finditer(text):
        if match["literal"] is None:
            if names is not None and match["name"] not in names:
                continue
            before = text[max(0, match.start() - _LONGEST_COMMAND) : match.start()]
            # A field may directly follow another field, but no other closing brace.
            if replaced != match.start() and _NO_FIELD_AFTER.search(before):
                continue
        replaced = match.end()
        yield match


def _look_up(path: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any value
    name = re.split(r"[.\[]", path, maxsplit=1)[0]
    found = values[name]
    for step in _STEP.finditer(path, len(name)):
        if step["attribute"]:
            found = getattr(found, step["attribute"])
        elif step["quote"]:
            found = found[step["quoted"]]
        else:
            key = step["key"]
            found = found[int(key) if re.fullmatch(r"-?[0-9]+", key) else key]
    return found
