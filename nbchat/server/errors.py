"""`ApiError` represents the error object of the OpenAI API."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """An error response with its HTTP status; the message names the error and the valid values."""

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
        """The invalid field, such as `messages[2].content`."""
        self.code = code
        self.headers = headers

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body of the response."""
        kind = "server_error" if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def invalid(param: str, message: str, *, code: str = "invalid_value") -> ApiError:
    """Return a 400 error for an invalid field."""
    return ApiError(400, message, param=param, code=code)


def model_not_found(model: str, known: tuple[str, ...]) -> ApiError:
    """Return a 404 error for an unknown model."""
    message = f"The model {model[:200]!r} does not exist here. This demo server has: {', '.join(known)}."
    return ApiError(404, message, param="model", code="model_not_found")
