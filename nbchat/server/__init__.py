"""The embedded server: OpenAI-compatible demo models over real HTTP and server-sent events.

It is what nbchat talks to where neither a key nor a base URL is set, and what the demo notebooks, the
tests and the benchmarks use through the real client. Nothing here is imported by `import nbchat`.

From outside to inside::

    command      `nbchat serve`                  demo         DemoServer: listens and closes
    connection   HTTP/1.1 by h11                 guard        no foreign web pages
    api          which path does what            activity     how many answers there are
    asking       what both APIs ask alike        fields       JSON fields, checked one by one
    chat         /v1/chat/completions            errors       OpenAI error objects
    responses    /v1/responses                   store        responses that can be read again
    generation   one answer, piece by piece      pace         when each piece is due
    models       who answers                     tokens       text as it is cut and taken up
    tour, essay  what they say (topics/*.md)     conversation what they are given
"""

from __future__ import annotations

from nbchat.server.command import DEFAULT_PORT, serve
from nbchat.server.demo import DemoServer
from nbchat.server.models import MODELS

__all__ = ["DEFAULT_PORT", "MODELS", "DemoServer", "serve"]
