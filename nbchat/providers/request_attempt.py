"""`RequestAttempt`: a request, without the fields that its server rejects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from nbchat.core.errors import ContextTooLong, ModelNotFound, ProviderError, RequestRejected
from nbchat.providers.base import Notice, Request
from nbchat.providers.errors import refuses_images
from nbchat.providers.prompts import (
    Body,
    chat_body,
    has_earlier_images,
    responses_body,
    with_schema_in_instructions,
    without_earlier_images,
)
from nbchat.providers.quirks import Quirk, find_quirk, without

_PICTURES: Final = Notice(
    "This model refused the pictures of earlier messages; it was sent their names instead.", shown=True
)

_NO_TOOLS: Final = Notice("This server refused tools for this model; it was asked without them.", shown=True)


@dataclass(slots=True)
class RequestAttempt:
    """A request without the fields that the server rejected before."""

    request: Request
    model: str
    is_chat: bool
    quirks: tuple[Quirk, ...]
    notices: list[Notice] = field(default_factory=list)
    """Removed fields of the request, as far as the user must be informed of them."""
    refusal: ProviderError | None = None
    """The error because of which the request was retried without images."""

    def __post_init__(self) -> None:
        if "images" in self.quirks and has_earlier_images(self.request):
            self._drop_images()
        if "schema" in self.quirks:
            self.request = with_schema_in_instructions(self.request)
        if "tools" in self.quirks:
            self._drop_tools()

    def body(self) -> Body:
        """Return the body to send."""
        body = (
            chat_body(self.request) if self.is_chat else {"background": True, **responses_body(self.request)}
        )
        body["model"] = self.model
        for quirk in self.quirks:
            body = without(body, quirk)
        return body

    def learn(self, error: ProviderError, body: Body) -> None:
        """Remove what the server rejects from the next attempt; raise the rejection if nothing can be."""
        if self.refusal is not None:
            raise self.refusal from self.refusal.__cause__  # images were not the cause
        words = _refusal(error)
        # OpenRouter has the status 404 if no server of a model supports tools.
        is_rejected = isinstance(error, RequestRejected | ModelNotFound)
        quirk = find_quirk(body, words, self.quirks) if is_rejected else None
        if quirk is not None:
            self.quirks = (*self.quirks, quirk)
            if quirk == "schema":
                self.request = with_schema_in_instructions(self.request)
            elif quirk == "tools":
                if not self.request.tools:  # those in the user's own request fields are not optional
                    raise error
                self._drop_tools()
            return
        names_images = error.http_status is not None and refuses_images(words)
        may_be_images = names_images or isinstance(error, RequestRejected | ContextTooLong)
        if not may_be_images or not has_earlier_images(self.request):
            raise error
        if names_images:
            self.quirks = (*self.quirks, "images")
        self.refusal = error
        self._drop_images()

    def _drop_images(self) -> None:
        self.request = without_earlier_images(self.request)
        self.notices.append(_PICTURES)

    def _drop_tools(self) -> None:
        if self.request.tools:
            self.request = replace(self.request, tools=())
            self.notices.append(_NO_TOOLS)


def _refusal(error: ProviderError) -> str:
    """Return the full text of the server's response behind `error`."""
    response = getattr(error.__cause__, "response", None)
    return str(response.text) if response is not None else ""
