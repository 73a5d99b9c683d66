"""`Extras`: `extra_headers` and `extra_query` of a session's params, without storing their credentials.

As in the openai client, they are added to the headers and the query of the request, never to its body. The
value of a header is a credential unless the header is listed as harmless. Credentials stay in the memory of
this process and its runner; the params, and therefore the log, the page and all saved state, contain
references to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from nbchat.core.errors import ConfigError
from nbchat.core.redact import is_reference
from nbchat.core.secret import Secret, reference_to, referenced

Find: TypeAlias = Callable[[str], Secret | None]
"""Returns the credential of a reference; `None` if it is not available."""

HEADERS: Final = "extra_headers"
QUERY: Final = "extra_query"
BODY: Final = "extra_body"

_HARMLESS: Final = frozenset(
    {
        *("accept", "accept-language", "content-type", "user-agent", "referer", "http-referer", "x-title"),
        *("openai-beta", "openai-organization", "openai-project", "anthropic-beta", "anthropic-version"),
    }
)
"""Headers whose values are stored and shown; the value of any other header is a credential."""

_CREDENTIAL: Final = re.compile(
    r"auth|key|token|secret|cookie|passw|credential|signature|^sig$|^code$", re.IGNORECASE
)
"""Names of credentials."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Extras:
    """Headers and query of one request, with their credentials."""

    headers: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    """Values by name; `None` removes a header that is otherwise sent."""
    query: Mapping[str, Any] = field(default_factory=dict, repr=False)


def is_secret_header(name: str) -> bool:
    """Return whether the value of this header must not be stored or shown."""
    return name.lower() not in _HARMLESS


def is_secret_query(name: str) -> bool:
    """Return whether the value of this query parameter must not be stored or shown."""
    return is_credential(name)


def is_credential(name: str) -> bool:
    """Return whether a header or query parameter has the name of a credential."""
    return _CREDENTIAL.search(name) is not None


def hide(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` with their credentials replaced by references.

    Raises
    ------
    TypeError, ValueError
        If `extra_headers`, `extra_query` or `extra_body` is not a mapping, or a header cannot be sent.
    """
    hidden = dict(params)
    for name in (HEADERS, QUERY, BODY):
        value = hidden.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise TypeError(f"params[{name!r}] must be a mapping, not {type(value).__name__}.")
    if headers := hidden.get(HEADERS):
        for name, value in headers.items():
            if value is not None and not isinstance(value, str):
                raise TypeError(f"header {name!r} must be a string, not {type(value).__name__}.")
        check_headers(headers, "extra_headers")
        hidden[HEADERS] = {
            name: _hidden(value) if is_secret_header(name) else value for name, value in headers.items()
        }
    if query := hidden.get(QUERY):
        hidden[QUERY] = {
            name: _hidden(value) if is_secret_query(name) else value for name, value in query.items()
        }
    return hidden


def _hidden(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    return reference_to(value) if isinstance(value, str) and value and not is_reference(value) else value


def read(params: Mapping[str, Any], find: Find = referenced) -> Extras:
    """Return the headers and the query that `params` add to a request, with the credentials.

    Parameters
    ----------
    params
        The parameters, with references to credentials.
    find
        Returns the credential of a reference.

    Raises
    ------
    ConfigError
        If they cannot be sent, or a credential was set in another kernel and is therefore not available.
    """
    headers = {name: _revealed(value, f"header {name!r}", find) for name, value in _mapping(params, HEADERS)}
    query = {
        name: _revealed(value, f"query parameter {name!r}", find) for name, value in _mapping(params, QUERY)
    }
    for name, value in headers.items():
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"header {name!r} must be a string.", hint="Check the session's extra_headers.")
    try:
        check_headers(headers, "the session's extra_headers")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return Extras(headers, query)


def _mapping(params: Mapping[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    value = params.get(name) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"params[{name!r}] must be a mapping.", hint="Check the session's params.")
    return value.items()


def _revealed(value: Any, what: str, find: Find) -> Any:  # noqa: ANN401 - any JSON value
    if not is_reference(value):
        return value
    secret = find(value)
    if secret is None:
        raise ConfigError(
            f"the value of {what} is a credential, which is never saved, and it was set in another kernel.",
            hint="Set the session's params again.",
        )
    return secret.reveal()


def check_headers(headers: Mapping[str, str | None], source: str) -> None:
    """Check that headers can be sent.

    Parameters
    ----------
    source
        Name of their source, for the message.

    Raises
    ------
    ValueError
        If a name or a value has a character that HTTP does not allow. The message does not show the value.
    """
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} in {source} is not a name of an HTTP header.")
        if value is not None and not _HEADER_VALUE.fullmatch(value):
            raise ValueError(
                f"the value of header {name!r} in {source} has a line break or another character "
                "that cannot be sent in a header."
            )
