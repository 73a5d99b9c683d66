"""Answers of `nbchat-tour` about nbchat, selected by keywords in the question.

Each topic is one Markdown file in `topics/`: a header with `title`, `keywords` (one match is sufficient),
`also` (words that count only if the question is about chats) and `related`, then the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from types import MappingProxyType

from nbchat.server.conversation import Conversation

_READ_CHARS = 2000
_QUOTE_CHARS = 400
_SHORT_WORDS = 4
_ENOUGH = 1.0

_NEAR = re.compile(
    r"\b(nbchat|notebooks?|jupyter|chats?|sessions?|tabs?|answers?|runs?|conversations?|you|widget)\b"
)
_MORE = re.compile(
    r"\s*(please\s+)?(tell me more|more|go on|continue|and|why|an? example|examples?|next|what else|details?)"
    r"\b.{0,40}|\s*(继续|还有).{0,40}",
    re.IGNORECASE | re.DOTALL,
)
_GREETING = re.compile(
    r"\s*(hello|hi|hey|good (morning|day|evening)|你好|您好)\b.{0,30}", re.IGNORECASE | re.DOTALL
)
_THANKS = re.compile(r"\s*(thanks|thank you|great|cool|nice|谢谢)\b.{0,30}", re.IGNORECASE | re.DOTALL)
_BRIEF = re.compile(r"\b(brief\w*|short\w*|concise\w*|one sentence|terse\w*)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the tour."""

    id: str
    title: str
    keywords: re.Pattern[str]
    also: re.Pattern[str]
    related: tuple[str, ...]
    text: str

    @property
    def lead(self) -> str:
        """The first paragraph."""
        return self.text.split("\n\n", 1)[0] + "\n"


@cache
def topics() -> MappingProxyType[str, Topic]:
    """Return all topics by id; loaded at the first call."""
    folder = files("nbchat.server") / "topics"
    paths = sorted(
        (path for path in folder.iterdir() if path.name.endswith(".md")), key=lambda path: path.name
    )
    read = [_parse(path.name.removesuffix(".md"), path.read_text(encoding="utf-8")) for path in paths]
    return MappingProxyType({topic.id: topic for topic in read})


def _parse(topic_id: str, source: str) -> Topic:
    head, text = source.split("\n---\n", 1)
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return Topic(
        id=topic_id,
        title=fields["title"],
        keywords=_pattern(fields["keywords"]),
        also=_pattern(fields["also"]),
        related=tuple(fields["related"].split(", ")),
        text=text.strip() + "\n",
    )


def _pattern(keywords: str) -> re.Pattern[str]:
    """Return a pattern for the words of a comma-separated list; `*` matches any ending."""
    words = [re.escape(word).replace(r"\*", r"[\w-]*") for word in keywords.split(", ")]
    # No word boundaries in scripts without spaces.
    return re.compile("|".join([rf"(?<!\w){word}(?!\w)" if word.isascii() else word for word in words]))


def find(question: str) -> Topic | None:
    """Return the topic of a question; `None` if no topic matches."""
    words = _head(question).lower()
    near = 0.6 if _NEAR.search(words) or len(words.split()) <= _SHORT_WORDS else 0.0
    best: Topic | None = None
    best_score = 0.0
    for topic in topics().values():
        # The name of the product is a weak hint, so every other match has a higher score.
        hits = set(topic.keywords.findall(words))
        score = sum([0.6 if hit == "nbchat" else 1.0 + hit.count(" ") for hit in hits])
        score += 3.0 if topic.title.lower() in words else 0.0
        score += sum([0.4 + 0.6 * hit.count(" ") for hit in set(topic.also.findall(words))])
        if score > best_score:
            best, best_score = topic, score
    return best if best_score + near >= _ENOUGH else None


def _head(text: str) -> str:
    """Return the part of a text that is searched."""
    return text[:_READ_CHARS]


def quote(text: str) -> str:
    """Return the beginning of a user message as a Markdown block quote."""
    said = text.strip()
    if len(said) > _QUOTE_CHARS:
        said = said[:_QUOTE_CHARS].rstrip() + " …"
    return "\n".join([f"> {line}" for line in said.splitlines() or ["(nothing)"]]) + "\n\n"


def _inline(text: str) -> str:
    """Return the beginning of a user message as one line."""
    said = " ".join(_head(text).split())
    return f"“{said[:80].rstrip()}…”" if len(said) > 80 else f"“{said}”"  # noqa: PLR2004 - a line


@dataclass(frozen=True, slots=True)
class _Subject:
    """The topic of an answer, and the topic that it follows."""

    topic: Topic | None
    earlier: Topic | None = None
    """The previous topic, if the question only asks for more."""


def _subject(conversation: Conversation) -> _Subject:
    *before, question = conversation.questions or ("",)
    topic = find(question)
    if topic is not None and not _MORE.fullmatch(_head(question)):
        return _Subject(topic)
    # "More", "and why?": continue with a topic that was not covered yet.
    told: list[Topic] = []
    for said in before:
        current = find(said)
        if current is None and told and _MORE.fullmatch(_head(said)):
            current = _following(told)
        if current is not None:
            told.append(current)
    if told and _MORE.fullmatch(_head(question)):
        return _Subject(_following(told), earlier=told[-1])
    return _Subject(topic)


def _following(told: list[Topic]) -> Topic:
    """Return a topic related to the last one that was not covered yet; else the next of all topics."""
    known = [topic.id for topic in told]
    candidates = [*told[-1].related, *topics()]
    return topics()[next((topic for topic in candidates if topic not in known), told[-1].related[0])]


def answer(conversation: Conversation, words: Random, *, name: str) -> Iterator[str]:
    """Yield the answer to the last question, in blocks of Markdown.

    Parameters
    ----------
    words
        Random generator that selects the wording.
    name
        Name of the model, for its introduction.
    """
    question = conversation.question
    if _GREETING.fullmatch(_head(question)) and find(question) is None:
        yield from _greeting(name)
        return
    if _THANKS.fullmatch(_head(question)) and find(question) is None:
        yield words.choice(("You are welcome. ", "With pleasure. ", "Gladly. "))
        yield _next(topics()["overview"], conversation, words)
        return
    subject = _subject(conversation)
    if subject.topic is None:
        yield from _elsewhere(conversation, words, name)
    elif _BRIEF.search(_head(conversation.instructions)):
        yield subject.topic.lead
    else:
        yield from _told(subject, subject.topic, conversation, words)


def _told(subject: _Subject, topic: Topic, conversation: Conversation, words: Random) -> Iterator[str]:
    yield f"## {topic.title}\n\n"
    if subject.earlier is not None:
        yield f"The next topic after *{subject.earlier.title.lower()}*:\n\n"
    elif len(conversation.questions) > 1:
        yield words.choice(("Your previous question was {}.\n\n", "Before this, you asked {}.\n\n")).format(
            _inline(conversation.questions[-2])
        )
    yield f"{topic.text}\n"
    yield _next(topic, conversation, words)


def _next(topic: Topic, conversation: Conversation, words: Random) -> str:
    """Return a closing line that suggests topics not covered yet."""
    known = {found.id for said in conversation.questions if (found := find(said))}
    fresh = [topics()[other].title.lower() for other in topic.related if other not in known]
    if not fresh:
        return words.choice(("You have seen all related topics.\n", "This was the last related topic.\n"))
    return words.choice(("Ask me next about {}.\n", "From here you could ask about {}.\n")).format(
        " or ".join([f"*{title}*" for title in fresh])
    )


def _greeting(name: str) -> Iterator[str]:
    yield f"Hello! I am **{name}**, a demo model in nbchat's own server. "
    yield "I only answer questions about nbchat, on these topics:\n\n"
    yield "".join([f"- {topic.title}\n" for topic in topics().values()])
    yield "\nWhat would you like to know?\n"


def _elsewhere(conversation: Conversation, words: Random, name: str) -> Iterator[str]:
    yield f"I am **{name}**, a demo model: a program with prepared answers about nbchat. "
    yield "You asked:\n\n"
    yield quote(conversation.question)
    if _BRIEF.search(_head(conversation.instructions)):
        yield "A real model can answer this. Set `OPENAI_BASE_URL` or `OPENAI_API_KEY` to ask one.\n"
        return
    if len(conversation.questions) > 1:
        yield f"Your previous question was {_inline(conversation.questions[-2])}. "
    yield words.choice(
        (
            "A real model can answer this. Set one, then ask again; no restart is needed:\n\n",
            "This needs a real model. Set one, then ask again; no restart is needed:\n\n",
        )
    )
    yield (
        "```python\nimport os\n\n"
        'os.environ["OPENAI_API_KEY"] = "your key"          # enough for OpenAI itself\n'
        'os.environ["OPENAI_BASE_URL"] = "http://localhost:11434/v1"   # any compatible server, here Ollama\n'
        'os.environ["NBCHAT_MODEL"] = "the-name-of-a-model"\n```\n\n'
    )
    yield "I answer questions on these topics, with tables, code and formulas:\n\n"
    titles = [topic.title for topic in topics().values()]
    yield "".join([f"- {title}\n" for title in sorted(words.sample(titles, 5))])
    yield "\nFor example: *How do I stop an answer?*\n"


def slow_answer(conversation: Conversation, words: Random) -> Iterator[str]:
    """Yield about a hundred tokens, for the slow model."""
    yield f"You asked {_inline(conversation.question)}. This takes a while.\n\n"
    yield words.choice(("This model is slow: ", "This model answers slowly: "))
    yield (
        "about five tokens per second, like a large model on a small machine. During this answer, switch to "
        "another tab and back, reload the page, or run a long cell: the answer continues.\n\n"
        "**Stop** ends the answer and keeps the text that has arrived. **Pause** holds the answer until you "
        "press **Resume**. If you do neither, the answer is complete here.\n"
    )


def thoughts(conversation: Conversation) -> Iterator[str]:
    """Yield the steps of choosing an answer."""
    yield f"The user asks {_inline(conversation.question)}. "
    if len(conversation.questions) > 1:
        yield f"The previous question was {_inline(conversation.questions[-2])}, so this may be a follow-up. "
    subject = _subject(conversation)
    titles = [topic.title.lower() for topic in topics().values()]
    yield f"I have {len(titles)} topics, such as {titles[0]}, or {titles[-1]}. "
    if subject.topic is None:
        yield "None of them fits, so I should state that I am a demo and how to use a real model. "
    else:
        yield f"“{subject.topic.title}” fits best. "
    yield "I will keep it short, and show an example where there is one."
