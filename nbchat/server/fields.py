"""`Fields` reads and type-checks the fields of a JSON request; errors contain the field's name.

Missing fields and `null` are equivalent, as in the OpenAI API. Unknown fields are ignored, as by most
compatible servers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nbchat.core.values import DecodeError, decode_json
from nbchat.server.errors import ApiError, invalid

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}


def kind(value: object) -> str:
    """Return a description of the type of a JSON value."""
    return _KINDS.get(type(value), "a number")


class Fields:
    """A JSON object and its path in the request."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = values
        self._path = path

    @classmethod
    def parse(cls, body: bytes) -> Fields:
        """Parse the body of a request, which must be an object.

        Raises
        ------
        ApiError
            400 if the body is not JSON or not an object.
        """
        try:
            value = decode_json(Any, body)
        except DecodeError as error:
            raise ApiError(400, f"The body is not valid JSON: {error}.", code="invalid_json") from None
        if not isinstance(value, dict):
            raise ApiError(400, f"The body must be a JSON object, and is {kind(value)}.", code="invalid_json")
        return cls(value)

    def name(self, key: str) -> str:
        """Return the full path of a field, for errors."""
        return f"{self._path}.{key}" if self._path else key

    def keys(self) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        return tuple(self._values)

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON can be anything here
        """Return the unchecked value of the field; `None` if it is missing."""
        return self._values.get(key)

    def refuse(self, key: str, wanted: str) -> ApiError:
        """Return the error for a missing field or one of the wrong type."""
        value, name = self._values.get(key), self.name(key)
        if value is None:
            return invalid(
                name,
                f"Missing required parameter: {name!r} must be {wanted}.",
                code="missing_required_parameter",
            )
        return invalid(
            name, f"Invalid {name!r}: it must be {wanted}, and is {kind(value)}.", code="invalid_type"
        )

    def text(self, key: str) -> str | None:
        """Return a string; `None` if it is missing."""
        value = self._values.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self.refuse(key, "a string")

    def required_text(self, key: str) -> str:
        """Return a string that must be present and not empty."""
        value = self.text(key)
        if not value:
            raise self.refuse(key, "a string that is not empty")
        return value

    def flag(self, key: str) -> bool:
        """Return a boolean; `False` if it is missing."""
        value = self._values.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self.refuse(key, "true or false")

    def integer(self, key: str, *, minimum: int | None = None) -> int | None:
        """Return an integer; `None` if it is missing."""
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(key, "a whole number")
        if minimum is not None and value < minimum:
            raise invalid(
                self.name(key), f"Invalid {self.name(key)!r}: {value} is below {minimum}, the least allowed."
            )
        return value

    def number(self, key: str, minimum: float, maximum: float) -> float | None:
        """Return a number within limits; `None` if it is missing."""
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, "a number")
        if not minimum <= value <= maximum:
            raise invalid(
                self.name(key),
                f"Invalid {self.name(key)!r}: {value} is not between {minimum:g} and {maximum:g}.",
            )
        return float(value)

    def choice(self, key: str, allowed: Sequence[str]) -> str | None:
        """Return one of the allowed values; `None` if it is missing."""
        value = self.text(key)
        if value is not None and value not in allowed:
            raise invalid(
                self.name(key),
                f"Invalid {self.name(key)!r}: {value[:100]!r} is none of {', '.join(allowed)}.",
            )
        return value

    def child(self, key: str) -> Fields | None:
        """Return an object; `None` if it is missing."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(key, "an object")
        return Fields(value, self.name(key))

    def children(self, key: str) -> Iterator[Fields]:
        """Yield the objects of a required list."""
        values = self._values.get(key)
        if not isinstance(values, list):
            raise self.refuse(key, "a list of objects")
        for index, value in enumerate(values):
            path = f"{self.name(key)}[{index}]"
            if not isinstance(value, dict):
                raise invalid(
                    path,
                    f"Invalid {path!r}: it must be an object, and is {kind(value)}.",
                    code="invalid_type",
                )
            yield Fields(value, path)
