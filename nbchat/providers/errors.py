"""`from_status` and `from_event` convert error responses and error events to a `ProviderError`.

This module does not depend on a client library. `transport` uses it for exceptions, the decoders for error
events.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from nbchat.core.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectFailed,
    ContextTooLong,
    ModelNotFound,
    ProviderError,
    ProviderErrorEvent,
    ProviderUnavailable,
    RateLimited,
    RequestRejected,
    Retryable,
)
from nbchat.core.redact import redact
from nbchat.core.text import clean, cut

MAX_SAID_CHARS: Final = 200
"""Maximum length of server text that is shown."""

Said = Callable[[str], str]
"""A function that sanitizes server text for display."""

_LOOKED_AT: Final = 20_000
_MARKUP: Final = re.compile(
    r"<(?:script|style)\b.*?(?:</(?:script|style)\s{0,9}>|\Z)|<[^<>]*>?", re.DOTALL | re.IGNORECASE
)
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]+"
)
_SPACE: Final = re.compile(r"\s+")

_REDIRECTS: Final = 3
_CLIENT_ERRORS: Final = 4
_SERVER_ERRORS: Final = 5

_BY_STATUS: Final[Mapping[int, type[ProviderError]]] = {
    400: RequestRejected,
    401: AuthenticationFailed,
    403: AuthenticationFailed,
    404: ModelNotFound,
    407: ConnectFailed,
    408: ProviderUnavailable,
    409: ProviderUnavailable,
    413: ContextTooLong,
    422: RequestRejected,
    425: ProviderUnavailable,
    429: RateLimited,
}

_TOO_LONG: Final = re.compile(
    r"context[ _-]?(?:length|window|size|limit)|maximum context"
    r"|(?:prompt|input|request) is too (?:long|large)"
    r"|too many (?:input )?tokens|exceed_context_size|maximum (?:prompt|input) length"
    r"|token count\b.{0,40}\bexceeds",
    re.IGNORECASE,
)

_IMAGES: Final = re.compile(
    r"\b(?:images?|image_url|input_image|vision|multi-?modal|mmproj|pictures?)\b"
    r"|content\b.{0,40}\b(?:must|should|expected)\b.{0,40}\bstring",
    re.IGNORECASE | re.DOTALL,
)
"""Error messages about images; the last alternative is that of text-only servers."""

_FILTER_CODES: Final = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_FILTERED: Final = re.compile(
    r"content (?:management |safety )?(?:policy|filter)|moderation|flagged|safety (?:system|policy)",
    re.IGNORECASE,
)

_NO_PICTURE: Final = "Send it without the picture, or choose a model that reads pictures."
_OTHER_WORDS: Final = "Ask in other words, or choose another model."

_BAD_KEY: Final = re.compile(r"\bapi[ _-]?key\W+(?:is )?(?:not valid|invalid|expired)", re.IGNORECASE)
"""Messages of servers that respond with 400 to an invalid key."""

_HINTS: Final[Mapping[int, str]] = {
    402: "The account at the provider needs credit; then retry.",
    407: "Check the user and the password in the proxy variable (HTTP_PROXY, HTTPS_PROXY).",
}

_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_OVERLOADED: Final = frozenset({"overloaded_error", "overloaded", "server_overloaded"})


def said(text: str, secrets: Iterable[str] = ()) -> str:
    """Return server text sanitized for display.

    Markup, secrets, and control, invisible and direction-changing characters are removed. The result is
    one line of at most `MAX_SAID_CHARS` characters.
    """
    text = _UNSEEN.sub(" ", text[:_LOOKED_AT])
    # Secrets are removed first, since half a key left by a cut may not be recognized as one. They are
    # removed again at the end, since markup may have split one.
    text = redact(clean(text), secrets)
    text = _SPACE.sub(" ", _MARKUP.sub(" ", text)).strip()
    text = redact(text, secrets)
    return cut(text, MAX_SAID_CHARS, "…")


def named_hint(hint: str, name: str) -> str:
    """Return the hint of an error with a provider's name, instead of the variables of the usual server."""
    hint = hint.replace("OPENAI_API_KEY for this server", f"the key of provider {name!r}")
    return hint.replace("OPENAI_BASE_URL", f"the base URL of provider {name!r}")


def words(body: object) -> str:
    """Return the message of an error body in any known shape; empty if there is no message."""
    body = unwrapped(body)
    # {"error": {"message": {…}}} is the deepest known nesting.
    for _ in range(3):
        if not isinstance(body, Mapping):
            break
        body = next((body[k] for k in ("message", "error", "detail", "msg") if body.get(k)), None)
    if isinstance(body, list):
        # FastAPI's validation errors: a list of objects with `loc` and `msg`.
        return "; ".join([problem for item in body[:3] if (problem := _problem(item))])
    return body if isinstance(body, str) else ""


def unwrapped(body: object) -> object:
    """Return the error in a list of length one, as sent by Gemini; else the body itself."""
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], Mapping) and "error" in body[0]:
        return body[0]
    return body


def _problem(item: object) -> str:
    if not isinstance(item, Mapping):
        return item if isinstance(item, str) else ""
    where = item.get("loc")
    place = ".".join([str(part) for part in where[:5]]) if isinstance(where, list) else ""
    message = item.get("msg")
    return ": ".join([part for part in (place, message if isinstance(message, str) else "") if part])


def code_of(body: object) -> str:
    """Return the code of an error body, else its type; empty if it has neither."""
    body = unwrapped(body)
    inner = body.get("error") if isinstance(body, Mapping) else None
    for place in (inner, body):
        if isinstance(place, Mapping):
            for name in ("code", "type"):
                value = place.get(name)
                if isinstance(value, str) and value != "error":
                    return value
    return ""


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the delay requested by a server, in seconds; `None` if it is missing or invalid.

    `retry-after-ms` (milliseconds) takes precedence over `Retry-After` (seconds or a date, RFC 9110,
    section 10.2.3). The run enforces an upper limit.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is None and value is not None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (TypeError, ValueError, OverflowError):
            return None
        return round(seconds, 3) if seconds > 0 else None
    return seconds


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    # Zero and negative delays are ignored, as are `nan`, `inf` and values that overflow.
    return number if math.isfinite(number) and number > 0 else None


def from_status(
    status: int,
    *,
    host: str,
    body: object,
    headers: Mapping[str, str],
    quote: Said,
    model: str | None = None,
) -> ProviderError:
    """Return the error for an HTTP response with a status other than 2xx.

    Parameters
    ----------
    body
        The JSON of the response, or its text if it is not JSON.
    headers
        Lower-case names, or a case-insensitive mapping.
    """
    if status // 100 == _REDIRECTS:
        return _redirected(status, host, headers, quote)
    code = code_of(body)
    text = body if isinstance(body, str) else words(body)
    cls = _class_of(status, code, text)
    wait = retry_after(headers)
    hint = _HINTS.get(status)
    retryable: Retryable | None = None
    if cls is RateLimited and code in _QUOTA:
        retryable = False
        hint = "The quota of this key is used up: check the plan and the billing at the provider."
    elif cls in {RateLimited, ProviderUnavailable}:
        retryable = True if wait is None else wait
        hint = None if wait is None else f"The server asks to wait {wait:g} s; retry then."
    elif cls is ConnectFailed:
        retryable = False
    elif cls is RequestRejected and hint is None:
        hint = _remedy(code, text)
    about = f" for model {quote(model)!r}" if cls is ModelNotFound and model else ""
    error = cls(
        f"{host} answered {status}{about}: {quote(text) or 'it gave no reason'}",
        hint=hint,
        retryable=retryable,
        http_status=status,
        request_id=request_id(headers, quote),
    )
    if isinstance(error, RateLimited):
        error.retry_after_s = wait
    return error


def refuses_images(text: str) -> bool:
    """Return `True` if the text of an error may mean that the model does not support images."""
    return bool(_IMAGES.search(text[:_LOOKED_AT]))


def _remedy(code: str, text: str) -> str | None:
    """Return a hint for a rejected request; `None` if the error text gives no known cause."""
    if code in _FILTER_CODES or _FILTERED.search(text[:_LOOKED_AT]):
        return _OTHER_WORDS
    return _NO_PICTURE if refuses_images(text) else None


def _class_of(status: int, code: str, text: str) -> type[ProviderError]:
    cls = _BY_STATUS.get(status) or (
        ProviderUnavailable if status // 100 >= _SERVER_ERRORS else RequestRejected
    )
    if code == "model_not_found":
        return ModelNotFound
    if cls is not RequestRejected:
        return cls
    if code == "context_length_exceeded" or _TOO_LONG.search(text[:_LOOKED_AT]):
        return ContextTooLong
    is_key = code in {"invalid_api_key", "authentication_error"} or _BAD_KEY.search(text[:_LOOKED_AT])
    return AuthenticationFailed if is_key else cls


def _redirected(status: int, host: str, headers: Mapping[str, str], quote: Said) -> ConfigError:
    target = quote(headers.get("location", "").split("?", 1)[0]) or "nowhere"
    return ConfigError(
        f"{host} answered {status} and points to {target}. Redirects are not followed, since the whole "
        "conversation would go there.",
        hint="Set OPENAI_BASE_URL to the server's own address, if you trust it.",
        stage="first_byte",
        retryable=False,
        http_status=status,
        request_id=request_id(headers, quote),
    )


def request_id(headers: Mapping[str, str], quote: Said) -> str | None:
    """Return the id that the server gave to the request, for support; `None` if there is no id.

    It is sanitized like all server text: a server that echoes its input may include the key.
    """
    value = headers.get("x-request-id") or headers.get("request-id") or headers.get("cf-ray")
    if not value:
        return None
    printable = "".join([c for c in value if c.isascii() and c.isprintable()])
    return quote(printable).removesuffix("…")[:100] or None


def from_event(body: object, *, began: bool, quote: Said) -> ProviderError:
    """Return the error for an error event in a stream.

    Parameters
    ----------
    body
        The JSON of the event, in any of the three known shapes.
    began
        Content was received before it.
    """
    code = code_of(body)
    text = words(body)
    shown = quote(text) or quote(code) or "it gave no reason"
    if not began and (code == "context_length_exceeded" or _TOO_LONG.search(text[:_LOOKED_AT])):
        return ContextTooLong(f"the server reported an error: {shown}", stage="stream")
    return ProviderErrorEvent(
        f"the server reported an error: {shown}",
        retryable=not began and code in _OVERLOADED,
        http_status=_status_in(body),
    )


def _status_in(body: object) -> int | None:
    for place in (body, body.get("error") if isinstance(body, Mapping) else None):
        status = place.get("code") if isinstance(place, Mapping) else None
        if (
            isinstance(status, int)
            and not isinstance(status, bool)
            and status // 100 in {_CLIENT_ERRORS, _SERVER_ERRORS}
        ):
            return status
    return None
