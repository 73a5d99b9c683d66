"""Answers of the demo models."""

from __future__ import annotations

import ast
import re
from random import Random

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from nbchat.server import tour
from nbchat.server.conversation import Conversation, Turn
from nbchat.server.generation import Generation, text_of
from nbchat.server.models import MODELS

PUBLIC_NAMES = {
    "ChatTabs", "session", "ask", "get_completion", "registry", "load", "import_", "map", "compare", "config",
    "discover", "allow_nested_loops", "new_id",
}  # fmt: skip


def conversation(*texts: str, instructions: str = "") -> Conversation:
    """Return a conversation in which user and assistant alternate, the user first."""
    turns = [Turn(("user", "assistant")[index % 2], text) for index, text in enumerate(texts)]
    return Conversation.of((*([Turn("system", instructions)] if instructions else []), *turns))


def say(model: str, *texts: str, instructions: str = "", seed: int | None = None) -> str:
    """Return the answer of a model."""
    return text_of(Generation(MODELS[model], conversation(*texts, instructions=instructions), seed=seed))[1]


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("What is nbchat?", "overview"),
        ("what can you do?", "overview"),
        ("How do I stop an answer?", "stop"),
        ("Can I pause a run and go on later?", "stop"),
        ("Is the conversation saved in the notebook?", "saving"),
        ("How do I restore yesterday's chats?", "saving"),
        ("How do sessions work?", "sessions"),
        ("Can I drive a chat from Python code in a cell?", "cells"),
        ("Can I use it with Ollama?", "providers"),
        ("Where do I put my OpenAI api key?", "providers"),
        ("Which magics are there?", "magics"),
        ("How do I export a chat as HTML?", "export"),
        ("What happens when I reload the page?", "background"),
        ("Who are you?", "demo"),
        ("Are there timeouts?", "limits"),
        ("Is my key safe?", "privacy"),
        ("How do I install nbchat?", "install"),
        ("Which keyboard shortcuts are there?", "page"),
        ("How do I retry a failed answer?", "retry"),
        ("Can I send a batch of prompts?", "batch"),
        ("如何停止回答", "stop"),
        ("怎么保存", "saving"),
        ("STOP", "stop"),
    ],
)
def test_the_tour_finds_the_topic(question: str, topic: str) -> None:
    """A question gets the topic that its words match."""
    assert say("nbchat-tour", question).startswith(f"## {tour.topics()[topic].title}\n\n")


@pytest.mark.parametrize(
    "question",
    [
        "Which rivers cross Paris?",
        "And Lyon?",
        "Write a poem about the sea",
        "Where are the United States?",
        "Write Python code that sorts a list of pairs",
        "What is the capital of France?",
        "",
        "x" * 100_000,
        "9" * 100_000,
        "> a quotation\n```\nand a fence",
    ],
)
def test_the_tour_admits_unknown_topics(question: str) -> None:
    """For an unknown topic the tour introduces itself, repeats the question, and explains real models."""
    text = say("nbchat-tour", question)
    assert text.startswith("I am **nbchat-tour**, a demo model")
    asked = question.splitlines()[0][:80] if question else "(nothing)"
    assert f"> {asked}" in text
    assert "OPENAI_BASE_URL" in text
    assert len(text) < 3000


def test_the_tour_remembers_the_earlier_question() -> None:
    """A later answer mentions the earlier question."""
    assert "“Which rivers cross Paris?”" in say("nbchat-tour", "Which rivers cross Paris?", "…", "And Lyon?")
    assert "“Who are you?”" in say("nbchat-tour", "Who are you?", "…", "How do I stop an answer?")


def test_more_leads_from_topic_to_topic() -> None:
    """Repeated requests for more lead to a new topic each time."""
    texts, titles = ["What is nbchat?", "…"], []
    for _ in range(len(tour.topics()) - 1):
        texts.append("More.")
        titles.append(say("nbchat-tour", *texts).split("\n", 1)[0])
        texts.append("…")
    assert len(set(titles)) == len(titles)


def test_greetings_and_thanks_are_returned() -> None:
    """Greetings and thanks get an answer."""
    assert say("nbchat-tour", "Hello!").startswith("Hello! I am **nbchat-tour**")
    assert (
        "Ask me" in (thanks := say("nbchat-tour", "What is nbchat?", "…", "Thanks!")) or "could ask" in thanks
    )


def test_instructions_are_heard() -> None:
    """The instruction to be brief shortens the answer of the tour."""
    brief = say("nbchat-tour", "How do I stop an answer?", instructions="Answer briefly, in one sentence.")
    assert len(brief) < len(say("nbchat-tour", "How do I stop an answer?")) / 3


def test_the_seed_chooses_among_the_wordings() -> None:
    """Different seeds give different wordings, and the same seed gives the same wording."""
    said = [say("nbchat-tour", "Which rivers cross Paris?", seed=seed) for seed in range(8)]
    assert said == [say("nbchat-tour", "Which rivers cross Paris?", seed=seed) for seed in range(8)]
    assert len(set(said)) > 1


@pytest.mark.parametrize("topic", tour.topics().values(), ids=lambda topic: topic.id)
def test_every_topic_is_sound(topic: tour.Topic) -> None:
    """A topic is found by its title, its code compiles, and it uses only names that nbchat has."""
    assert set(topic.related) <= set(tour.topics()) - {topic.id}
    assert tour.find(f"And {topic.title.lower()}?") is topic
    assert len(topic.lead) < len(topic.text)
    for language, code in re.findall(r"```(\w+)\n(.*?)```", topic.text, re.DOTALL):
        assert language in {"python", "bash"}
        if language == "python":
            source = TransformerManager().transform_cell(code)  # type: ignore[no-untyped-call]
            compile(source, topic.id, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    assert set(re.findall(r"\bnbchat\.([A-Za-z]\w*)", topic.text)) - {"providers"} <= PUBLIC_NAMES


def test_the_topics_use_every_kind_of_markdown() -> None:
    """Together the topics have tables, code, lists, quotations, links and formulas."""
    everything = "\n".join([topic.text for topic in tour.topics().values()])
    for mark in ("\n| ", "\n```python\n", "\n- ", "\n1. ", "\n> ", "\n$$\n", "**", " $n$", "](https://"):
        assert mark in everything


@pytest.mark.parametrize(
    ("question", "words"),
    [("Write 500 words", 500), ("a 1,000-word essay", 1000), ("20000 words", 20_000), ("1 word", 1)],
)
def test_a_long_answer_has_as_many_words_as_asked(question: str, words: int) -> None:
    """A requested number of words is met to within a sentence or a line of a table."""
    assert words <= len(say("nbchat-long", question).split()) <= words + 40


@pytest.mark.parametrize(
    ("question", "size"), [("go", 40_000), ("160 KB", 160_000), ("0.5 MB please", 500_000)]
)
def test_a_long_answer_has_the_size_that_was_asked(question: str, size: int) -> None:
    """A requested size is met, and the default is 40 KB."""
    assert size <= len(say("nbchat-long", question).encode()) <= size + 400


def test_a_long_answer_has_an_end() -> None:
    """The length is at most 200,000 words or 2 MB, whatever is requested."""
    asked = conversation("9" * 1000 + " words")
    words = sum([len(block.split()) for block in MODELS["nbchat-long"].answer(asked, Random(1))])
    assert 200_000 <= words <= 200_040


def test_a_long_answer_has_structure() -> None:
    """A long answer has headings, lists, tables, code, formulas and quotations."""
    text = say("nbchat-long", "go")
    for mark in ("\n## 1. ", "\n### ", "\n- ", "\n1. ", "\n|:--|", "\n```python\n", "\n$$\n", "\n> "):
        assert mark in text


def test_an_answer_begins_at_once() -> None:
    """The first piece of the longest answer is available before the others are generated."""
    first = next(iter(Generation(MODELS["nbchat-long"], conversation("200000 words"))))
    assert first.text


def test_the_thinking_model_does_not_think_twice() -> None:
    """A partial answer is continued without further reasoning."""
    reasoning, _ = text_of(Generation(MODELS["nbchat-think"], conversation("What is nbchat?", "## What")))
    assert reasoning == ""


def test_the_seed_depends_on_the_roles_of_turns() -> None:
    """The seed depends on the roles and texts of turns, and not on the point where an answer is continued."""
    seeds = {
        conversation("a", "b", "c").seed,
        conversation("ab", "", "c").seed,
        conversation("a", "b", "c", instructions="d").seed,
        conversation("abc").seed,
    }
    assert len(seeds) == 4
    assert conversation("a", "b", "c", "begun").seed == conversation("a", "b", "c").seed
