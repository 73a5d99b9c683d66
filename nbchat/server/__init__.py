"""The embedded server: OpenAI-compatible demo models over real HTTP and server-sent events.

nbchat uses it if neither a key nor a base URL is set. The demo notebooks, the tests and the benchmarks
use it through the real client. `import nbchat` imports nothing from this package.

Modules, from the outer to the inner layers::

    command      `nbchat serve`                  demo         DemoServer: starts and stops
    connection   HTTP/1.1 by h11                 guard        rejects foreign web pages
    api          routes and endpoints            activity     count of active answers
    asking       request fields of both APIs     fields       type-checked JSON fields
    chat         /v1/chat/completions            errors       OpenAI error objects
    responses    /v1/responses                   store        stored responses
    generation   one answer, piece by piece      pace         timing of the pieces
    models       the demo models                 tokens       tokens, stop sequences, prefill
    tour, essay  their texts (topics/*.md)       conversation their input
"""

from __future__ import annotations

from nbchat.server.command import DEFAULT_PORT, serve
from nbchat.server.demo import DemoServer
from nbchat.server.models import MODELS

__all__ = ["DEFAULT_PORT", "MODELS", "DemoServer", "serve"]
