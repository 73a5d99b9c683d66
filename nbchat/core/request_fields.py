"""Request fields that can be given as keyword arguments, with the names of the OpenAI API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nbchat.core.settings import params_of_caller
from nbchat.core.structured import SCHEMA
from nbchat.core.text import suggestion

NAMES: Final = frozenset(
    {
        *("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty", "logit_bias"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "logprobs", "top_logprobs"),
        *(
            "reasoning_effort",
            "reasoning",
            "verbosity",
            "text",
            "response_format",
            "modalities",
            "prediction",
        ),
        *("tool_choice", "parallel_tool_calls", "max_tool_calls", "web_search_options", "include"),
        *("service_tier", "store", "metadata", "user", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_retention", "truncation", "stream_options", "extra_body"),
    }
)
"""Fields of Chat Completions and Responses that a caller may set. Others are passed in `params=`."""

_OF_A_QUESTION: Final = ("context", "cache", SCHEMA)
"""Arguments of the calls that ask a question."""

_ARGUMENTS: Final = (
    *("model", "instructions", "params", "provider", "attachments", "timeout", "temporary"),
    *_OF_A_QUESTION,
)


def merged(call: str, params: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` with the fields that were passed as keyword arguments of `call`.

    Raises
    ------
    TypeError, ValueError
        If a field is unknown, or a value cannot be sent.
    """
    for name in fields:
        if name in _OF_A_QUESTION:
            raise TypeError(
                f"{call}() has no argument {name!r}: it is an argument of send(), ask() and map()."
            )
        if name not in NAMES:
            raise TypeError(
                f"{call}() has no argument {name!r}{suggestion(name, (*_ARGUMENTS, *NAMES))}. "
                f"A field of the request that nbchat does not list is given as params={{{name!r}: …}}."
            )
    return {**params_of_caller(params), **params_of_caller(fields)}
