"""`Message` and its parts: immutable values of a transcript.

Terms are those of the OpenAI API: `role`, `finish_reason` and `usage` keep its values unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, Literal

from msgspec import UNSET, UnsetType, field
from msgspec.structs import replace

from nbchat.core.text import clean, fenced, person_name, split_thought
from nbchat.core.values import FiniteFloat, SafeInt, Tagged, Value

_SHOWN_CHARS: Final = 80
_CODE_BLOCK: Final = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1", re.DOTALL | re.MULTILINE)

BITMAP: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+\Z")
"""Images that can be shown and sent: only types that cannot contain scripts, and no addresses."""

Role = Literal["system", "user", "assistant", "tool"]

Author = str | UnsetType
"""Name of a person; `UNSET` outside of a service that several people use. It is then omitted from JSON."""


class Usage(Value, frozen=True, kw_only=True):
    """Token counts of a run, as the server reported them. A count that it did not report is `None`.

    `input_tokens` includes `cached_tokens`, and `output_tokens` includes `reasoning_tokens`.

    Examples
    --------
    >>> first, second = (geo.ask(text).usage for text in ("Seine", "Rhône"))
    >>> (first + second).total_tokens == first.total_tokens + second.total_tokens
    True
    """

    input_tokens: SafeInt | None = None
    output_tokens: SafeInt | None = None
    reasoning_tokens: SafeInt | None = None
    cached_tokens: SafeInt | None = None

    @property
    def total_tokens(self) -> int:
        """Input and output tokens; 0 if the server reported neither."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of each count; `None` only if neither has it."""

        def add(a: int | None, b: int | None) -> int | None:
            return None if a is None and b is None else (a or 0) + (b or 0)

        return Usage(
            input_tokens=add(self.input_tokens, other.input_tokens),
            output_tokens=add(self.output_tokens, other.output_tokens),
            reasoning_tokens=add(self.reasoning_tokens, other.reasoning_tokens),
            cached_tokens=add(self.cached_tokens, other.cached_tokens),
        )


class TextPart(Tagged, frozen=True, kw_only=True, tag="text"):
    """Markdown text of the user or the model.

    Examples
    --------
    >>> geo.ask("Seine").parts
    (TextPart(text='Seine'),)
    """

    text: str = ""


class ReasoningPart(Tagged, frozen=True, kw_only=True, tag="reasoning"):
    """Reasoning of the model. It is shown collapsed and never sent back.

    Examples
    --------
    >>> thought, answer = nbchat.ask("Why?", model="nbchat-think").parts
    >>> thought.type, thought.text != "", thought.seconds is not None
    ('reasoning', True, True)
    """

    text: str = ""
    seconds: FiniteFloat | None = None
    """Duration of the reasoning, once it has ended."""


class ToolCallPart(Tagged, frozen=True, kw_only=True, tag="tool_call"):
    """A tool call that the model requested. `text` is the JSON of its arguments, as received.

    A call with `started_at` and without a result has an unknown outcome: its kernel ended in between.

    Examples
    --------
    >>> import json
    >>> call = nbchat.ToolCallPart(call_id="call_1", name="rivers", text='{"city": "Paris"}')
    >>> json.loads(call.text)["city"]
    'Paris'
    """

    call_id: str = ""
    name: str = ""
    text: str = ""
    started_at: FiniteFloat | None = None
    """When the call was approved and started, in seconds since 1970; `None` if it was not run."""


class ToolResultPart(Tagged, frozen=True, kw_only=True, tag="tool_result"):
    """The result of a tool call, as text that is never parsed.

    Examples
    --------
    >>> nbchat.ToolResultPart(call_id="call_1", text="Seine").is_error
    False
    """

    call_id: str = ""
    text: str = ""
    is_error: bool = False
    not_run: bool = False
    """The tool was not called; the text is the reason."""
    images: tuple[str, ...] = ()
    """Pictures of the result, as `data:` URLs of type png, jpeg, gif or webp."""

    @property
    def size(self) -> int:
        """Number of characters, pictures included."""
        return len(self.text) + sum(map(len, self.images))


class ImagePart(Tagged, frozen=True, kw_only=True, tag="image"):
    """An image that the user attached, as a `data:` URL of type png, jpeg, gif or webp.

    Examples
    --------
    >>> dot = nbchat.ImagePart(text="data:image/gif;base64,R0lGODlhAQABAAAAACw=", name="dot.gif")
    >>> run = geo.send("What is in the picture?", attachments=[dot]).wait(30)
    >>> geo.messages[0].parts[1].name
    'dot.gif'
    """

    text: str = ""
    """The complete `data:` URL."""
    name: str = ""

    @property
    def is_bitmap(self) -> bool:
        """True if the text is a `data:` URL of a supported type; in a stranger's file it may be any URL."""
        return BITMAP.match(self.text) is not None


class FilePart(Tagged, frozen=True, kw_only=True, tag="file"):
    r"""A text file that the user attached. It is not part of the message's `text`; models get `markdown`.

    Examples
    --------
    >>> table = nbchat.FilePart(name="rivers.csv", text="name,km\nSeine,775\n")
    >>> run = geo.send("Which is the longest?", attachments=[table]).wait(30)
    >>> geo.messages[0].text, geo.messages[0].parts[1].name
    ('Which is the longest?', 'rivers.csv')
    """

    text: str = ""
    name: str = ""
    kind: Literal["file", "variable"] = "file"
    """`variable`: the description of a variable of the notebook, as `nbchat.describe` returns it."""

    @property
    def markdown(self) -> str:
        """The name, and the text in a code block that no line of the text can close."""
        name = " ".join(self.name.replace("`", "").split())
        if self.kind == "variable":
            return f"Variable `{name}`:\n{fenced(self.text)}"
        suffix = re.search(r"\.(\w{1,12})$", name)
        code = fenced(self.text.removesuffix("\n"), suffix[1].lower() if suffix else "")
        return f"`{name}`\n{code}" if name else code


class Source(Value, frozen=True, kw_only=True):
    """A page or file that an answer cites, as reported by the server.

    Examples
    --------
    >>> nbchat.Source(title="Seine", url="https://example.org/seine").url
    'https://example.org/seine'
    """

    title: str = ""
    """Empty if the server reported only an address."""
    url: str = ""
    """Empty for a file. The server's value is not trusted: only `http` and `https` are shown as links."""


Attachment = ImagePart | FilePart
"""A part that a user can attach to a message."""

MAX_VARIABLE_CHARS: Final = 24_000
"""Maximum characters of all descriptions of variables in one message."""


def variable_chars(attachments: Iterable[Attachment]) -> int:
    """Return the characters of all descriptions of variables among a message's attachments."""
    return sum(
        len(part.text) for part in attachments if isinstance(part, FilePart) and part.kind == "variable"
    )


Part = TextPart | ReasoningPart | ToolCallPart | ToolResultPart | ImagePart | FilePart
PartType = Literal["text", "reasoning", "tool_call", "tool_result", "image", "file"]


def json_of(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a text parsed as JSON, or else the JSON in its first code block. Reasoning before it is ignored.

    Escaped halves of surrogate pairs become U+FFFD, so that the values can be stored anywhere.

    Raises
    ------
    ValueError
        If neither is valid JSON.
    """
    text = split_thought(text)[1]
    try:
        return _parsed(text)
    except (ValueError, RecursionError) as error:
        block = _CODE_BLOCK.search(text)
        if block is not None:
            with suppress(ValueError, RecursionError):
                return _parsed(block[2])
        raise ValueError(f"the text is not valid JSON ({error}).") from None


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON value
    value = json.loads(text)
    return json.loads(clean(json.dumps(value, ensure_ascii=False))) if "\\u" in text else value


class Message(Value, frozen=True, kw_only=True):
    """One turn of a conversation: its role and its parts.

    Examples
    --------
    >>> answer = geo.ask("Which **river**?")
    >>> answer.role, answer.text, answer.finish_reason
    ('assistant', 'Which **river**?', 'stop')
    >>> geo.messages[-1] == answer
    True
    """

    id: str
    role: Role
    parts: tuple[Part, ...] = ()
    created_at: FiniteFloat = 0.0
    """Seconds since 1970-01-01 UTC."""
    parent_id: str | None = None
    """Id of the preceding message; `None` for the first. Siblings are versions of one turn."""
    run_id: str | None = None
    """Id of the last run that generated it; `None` for a message of the user."""
    model: str | None = None
    """The model that answered, as reported by the server."""
    finish_reason: str | None = None
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    """Sources that the answer cites, in the order of their numbers."""
    notices: tuple[str, ...] = ()
    """Notices for the reader of the answer, such as "1 item of type … is not shown."."""
    written_by: Author = field(default=UNSET, name="author")
    """Name of the person who wrote the question, as the service identified them."""

    @property
    def author(self) -> str | None:
        """Name of the person who wrote the question; `None` if no service recorded it.

        It is not sent to the model.
        """
        return person_name(self.written_by) or None if self.written_by is not UNSET else None

    @property
    def text(self) -> str:
        """The Markdown of all text parts, joined without separators."""
        return _text_of(self.parts)

    @property
    def final_text(self) -> str:
        """The Markdown after the last tool result: the answer that the model wrote with all results."""
        last = max((n for n, part in enumerate(self.parts) if isinstance(part, ToolResultPart)), default=-1)
        return _text_of(self.parts[last + 1 :])

    @property
    def size(self) -> int:
        """Number of characters of all parts, pictures included."""
        return sum(part.size if isinstance(part, ToolResultPart) else len(part.text) for part in self.parts)

    def as_shown(self) -> Message:
        """Return the message with reasoning at the beginning of an answer's text as a separate part."""
        text = self.text
        thought, rest = split_thought(text) if self.role == "assistant" else ("", text)
        if rest == text:
            return self
        return replace(self, parts=(ReasoningPart(text=thought), *_from(self.parts, len(text) - len(rest))))

    @property
    def text_with_files(self) -> str:
        """The text, and each attached file in a code block."""
        files = [part.markdown for part in self.parts if isinstance(part, FilePart)]
        return "\n\n".join([*filter(None, [self.text]), *files])

    @property
    def reasoning(self) -> str:
        """The model's reasoning, if the server reports it."""
        return "".join([part.text for part in self.parts if isinstance(part, ReasoningPart)])

    def __str__(self) -> str:
        """Return the message's text."""
        return self.text

    def __repr__(self) -> str:
        """Return the id, the role, the finish reason and the first 80 characters, on one line."""
        end = f", {self.finish_reason}" if self.finish_reason else ""
        text = " ".join(self.text[:1000].split())
        shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
        return f"<Message {self.id} {self.role}{end}: {shown!r}>"

    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the text parsed as JSON, or else the JSON in its first code block.

        Text before the result of a tool call is ignored.

        Raises
        ------
        ValueError
            If neither is valid JSON.

        Examples
        --------
        >>> geo.ask('{"river": "Seine", "km": 775}').json()["km"]
        775
        """
        try:
            return json_of(self.final_text)
        except ValueError as error:
            raise ValueError(
                f"{error} Ask for JSON, for example with response_format={{'type': 'json_object'}}."
            ) from None

    @property
    def data(self) -> Any:  # noqa: ANN401 - any JSON value
        """The answer as data: its parsed JSON, or `None` if it has none.

        The answer that `send` or `ask` returns for a `schema` has an object of that schema here.
        """
        with suppress(ValueError):
            return self.json()
        return None


def _text_of(parts: tuple[Part, ...]) -> str:
    return "".join([part.text for part in parts if isinstance(part, TextPart)])


def _from(parts: tuple[Part, ...], start: int) -> Iterator[Part]:
    """Yield parts without the first `start` characters of their text."""
    for part in parts:
        if not isinstance(part, TextPart):
            yield part
            continue
        if part.text[start:] or not part.text:
            yield replace(part, text=part.text[start:])
        start = max(start - len(part.text), 0)
