"""`redact`: removes secrets from text that is shown, logged or stored.

Text from outside (a server's error, a proxy's page, a library's exception) may contain the key that was sent.
Secrets are removed by value if the caller has them, and otherwise by shape.

Every expression takes time linear in the text: repetitions are over one character class that does not overlap
with the following expression, or are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

REDACTED: Final = "[redacted]"
"""Replacement for a secret."""

_PASSES: Final = 4
"""Maximum number of passes: a key directly after another one is found only once that one is replaced."""

_REFERENCE: Final = re.compile(r"\[secret [0-9a-f]{16}\]")
"""Reference to a credential that is kept only in the memory of the kernel and its runner."""

MIN_SECRET: Final = 6
"""Minimum number of characters of a secret; replacing shorter values would damage ordinary text."""

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

# A key begins at the start of a word. In quoted text it may directly follow an escape (`\n` as two
# characters, `%3D`), whose last character is a letter or a digit.
_START: Final = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[abfnrtv])|(?<=\\u[0-9A-Fa-f]{4}))"

# Servers mask the middle of a key with asterisks; the visible ends are removed too.
_KEYS: Final = (
    r"sk-[A-Za-z0-9_*-]{10,}",  # OpenAI (sk-proj-, sk-svcacct-), Anthropic (sk-ant-), OpenRouter (sk-or-), …
    r"[rs]k_(?:live|test)_[A-Za-z0-9*]{10,}",
    r"AIza[A-Za-z0-9_*-]{16,}",  # Google
    r"gsk_[A-Za-z0-9*]{16,}",  # Groq
    r"hf_[A-Za-z0-9*]{16,}",  # Hugging Face
    r"xai-[A-Za-z0-9_*-]{16,}",
    r"pplx-[A-Za-z0-9*]{16,}",
    r"nvapi-[A-Za-z0-9_*-]{16,}",
    r"r8_[A-Za-z0-9*]{16,}",  # Replicate
    r"gh[pousr]_[A-Za-z0-9*]{16,}",
    r"github_pat_[A-Za-z0-9_*]{16,}",
    r"glpat-[A-Za-z0-9_*-]{16,}",
    r"xox[abeoprs]-[A-Za-z0-9*-]{10,}",  # Slack
    r"(?:AKIA|ASIA)[A-Z0-9*]{12,}",  # AWS
    # JSON Web Token. Text without a dot is scanned once, not again from each `-eyJ` inside it.
    r"(?<![_-])eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*)?",
)
_KEY: Final = re.compile(_START + "(?:" + "|".join(_KEYS) + ")")

_PEM: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)

# "Basic authentication" is not a secret; base64 has a capital, a digit or a `=` after its first letter.
_SCHEME: Final = re.compile(
    r"\b(?:((?i:bearer)(?:\s|%20|\+|\\[tn]){1,4})[A-Za-z0-9._~+/=*%-]{8,}"
    r"|((?i:basic)(?:\s|%20|\+|\\[tn]){1,4})(?=[A-Za-z0-9+/]{1,64}?[A-Z0-9=])[A-Za-z0-9+/=%_-]{8,})"
)

_NAMED: Final = re.compile(
    r"((?:api|access|secret|private|auth)[-_ ]{0,1}(?:key|token)|client[-_]{0,1}secret|password|passwd)"
    r"(\\{0,1}[\"']{0,1}\s{0,3}(?:[:=]|%3[aAdD])\s{0,3}\\{0,1}[\"']{0,1})[^\s\"'\\,;&<>{}\[\]()]{6,}",
    re.IGNORECASE,
)

_USERINFO: Final = re.compile(r"(?<=://)[^\s/?#@\"'<>]{1,256}@")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` with every secret replaced by `[redacted]`.

    The function is idempotent. Text without secrets is returned as the same object.

    Parameters
    ----------
    secrets
        Secret values: the keys in use. They are replaced as they are and in URL encoding. Values of fewer
        than `MIN_SECRET` characters are ignored.
    """
    if not text:
        return text
    for value in sorted({s for s in secrets if len(s) >= MIN_SECRET}, key=len, reverse=True):
        for form in {value, _in_url(value), _in_url(value).replace("%20", "+"), _in_url(value).lower()}:
            text = text.replace(form, REDACTED)
    for _ in range(_PASSES):
        before, text = text, _by_shape(text)
        if text == before:
            break
    return text


def is_reference(value: object) -> bool:
    """Return whether `value` is a reference to a credential."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def without_references(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` without references to credentials, which differ from kernel to kernel."""
    return {
        name: without_references(value) if isinstance(value, Mapping) else value
        for name, value in params.items()
        if not is_reference(value)
    }


def _by_shape(text: str) -> str:
    text = _PEM.sub(REDACTED, text)
    text = _USERINFO.sub(f"{REDACTED}@", text)
    text = _SCHEME.sub(lambda found: f"{found[1] or found[2]}{REDACTED}", text)
    text = _KEY.sub(REDACTED, text)
    return _NAMED.sub(rf"\1\2{REDACTED}", text)


def _in_url(value: str) -> str:
    """Return `value` in URL encoding (RFC 3986, section 2)."""
    return "".join(
        [chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in value.encode("utf-8", "replace")]
    )
