"""Reveals hidden characters and misleading links in a text, by the same rules as the page.

The view's rules are in `js/src/markdown/hidden.ts` and `js/src/markdown/urls.ts`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

MAX_LABEL_CHARS: Final = 300
"""Maximum characters of a link's text that are searched for an address."""

_SELECTORS: Final = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
# Kept: the flag of a region, and one variation selector after a character.
_IN_ORDER: Final = f"(?P<kept>\U0001f3f4[\U000e0020-\U000e007f]{{1,6}}|(?<=[^\\s{_SELECTORS}])[{_SELECTORS}]"
_IN_PROSE: Final = re.compile(f"{_IN_ORDER})|[\u2028-\u202e\ufe00-\ufe0f\U000e0000-\U000e0fff]")
_IN_CODE: Final = re.compile(
    # Many scripts, and emoji, use joiners.
    rf"{_IN_ORDER}|(?<=[^\x00-\x7f\s])[\u200c\u200d])"
    "|[\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_INVISIBLE: Final = re.compile("[\u200b-\u200f\u2060\ufeff]")
_ENDINGS: Final = """
    com org net edu gov mil int info biz name pro dev app xyz top site online shop store club tech cloud page
    link live news blog wiki zip mov bank email google microsoft apple amazon
"""
# Country codes have two letters.
_HOST: Final = re.compile(
    rf"(?<![^\W_])(?<![^\W_]\.)(?:[^\W_][\w-]{{0,62}}+\.)+(?:[^\W\d_]{{2}}|xn--[a-z\d-]{{2,59}}|{'|'.join(_ENDINGS.split())}"
    r"|[^\W\d_a-z]{2,})(?![\w-])",
    re.IGNORECASE,
)
_FILE: Final = re.compile(r"[^.]+\.(?:py|md|rs|sh|cc|pl|so|ps|mk|ml|ts|hs|vi|gz)", re.IGNORECASE)
"""Names that end with a country code but are usually file names."""


def without_hidden(text: str) -> str:
    """Return prose without overrides of the writing direction, tag characters and runs of selectors.

    These hide text from the reader that is included when the text is copied.
    """
    return text if text.isascii() else _IN_PROSE.sub(lambda found: found["kept"] or "", text)


def with_hidden_shown(code: str) -> str:
    """Return code with its invisible characters written as `⟦U+202E⟧`."""
    if code.isascii():
        return code
    return _IN_CODE.sub(lambda found: found["kept"] or f"⟦U+{ord(found[0]):04X}⟧", code)


def host_to_show(text: str, href: str) -> str | None:
    """Return the host to show after a link whose text looks like another address; `None` for other links."""
    try:
        parts = urlsplit(href)
        host = parts.path.rpartition("@")[2] if parts.scheme == "mailto" else parts.hostname
    except ValueError:
        return None
    if not host:
        return None
    if parts.username is not None:
        return host
    label = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text[:MAX_LABEL_CHARS]))
    named = _HOST.findall(label)
    if (not host.isascii() or "xn--" in host) and (named or label.lstrip().lower().startswith("http")):
        return host
    others = [name for name in named if not _FILE.fullmatch(name) and _bare(name) != _bare(host)]
    return host if others else None


def _bare(host: str) -> str:
    return host.lower().removeprefix("www.")
