"""What the server answers when it will not do what was asked: the OpenAI API's error object."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """A refusal with its HTTP status; the message says what was wrong and what would be right."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        """The field that was wrong, as `messages[2].content`."""
        self.code = code
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that goes over the wire."""
        kind = "server_error" if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def invalid(param: str, message: str, *, code: str = "invalid_value") -> ApiError:
    """Return the 400 for one wrong field."""
    return ApiError(400, message, param=param, code=code)


def model_not_found(model: str, known: tuple[str, ...]) -> ApiError:
    """Return the 404 for a model that is not served here."""
    message = f"The model {model[:200]!r} does not exist here. This demo server has: {', '.join(known)}."
    return ApiError(404, message, param="model", code="model_not_found")
