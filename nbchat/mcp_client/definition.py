"""`Definition`: name, description and schema of a tool, as its MCP server offers it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any


class ServerFailed(Exception):
    """A server cannot be reached or did not answer. The message is for the model and for the reader."""


class NotCalled(ServerFailed):
    """The call was not sent."""


@dataclass(frozen=True)
class Definition:
    """A tool of a server."""

    name: str
    """The name on the server."""
    description: str
    schema: Mapping[str, Any]
    """JSON schema of the arguments."""

    @cached_property
    def text(self) -> str:
        """The schema as JSON."""
        return json.dumps(self.schema, sort_keys=True, ensure_ascii=True)

    @cached_property
    def digest(self) -> str:
        """A hash of name, description and schema. An approval holds only for a tool with the same hash."""
        whole = json.dumps([self.name, self.description, self.text])
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
