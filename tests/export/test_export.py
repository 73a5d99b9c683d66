"""Exports in four formats: inert, and readable again."""

import json
import re
import subprocess
import sys
from pathlib import Path

import mistune
import nbformat
import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace

import nbchat
from nbchat.core.errors import SnapshotError
from nbchat.core.events import Settings
from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Source,
    TextPart,
    ToolCallPart,
)
from nbchat.core.run import RunRecord, RunState
from nbchat.core.snapshot import parse
from nbchat.core.transcript import ROOT, SessionState
from nbchat.export import FORMATS, export, render, slug, turns
from nbchat.export.raw_outputs import count_raw_outputs
from nbchat.export.reading import from_jsonl, from_markdown, from_notebook
from nbchat.export.turns import Rendered, transcript
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from tests.engines import engine_of
from tests.hostile import HOSTILE, Elements


def conversation(*texts: str, title: str = "geo", parts: tuple[Part, ...] = ()) -> SessionState:
    """Return a session with `texts` as alternating turns of the user and the model."""
    messages: dict[str, Message] = {}
    selected: dict[str, str] = {}
    parent = None
    for number, text in enumerate(texts):
        key = f"m-{number}"
        messages[key] = Message(
            id=key,
            role="assistant" if number % 2 else "user",
            parts=(*(parts if number % 2 else ()), TextPart(text=text)),
            created_at=1e9,
            parent_id=parent,
        )
        selected[parent or ROOT] = key
        parent = key
    return SessionState(
        id="s-1",
        seq=9,
        created_at=1e9,
        settings=Settings(title=title, instructions="Answer briefly."),
        messages=messages,
        selected=selected,
    )


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_text_is_inert_in_other_renderers(payload: str) -> None:
    """Hostile text in answers, titles, names of people, file names or instructions is inert in each export.

    Parsers of different Markdown dialects read the cells of an exported notebook alike.
    """
    parts = (
        ReasoningPart(text=payload),
        ToolCallPart(name=payload, text=payload),
        FilePart(text=payload, name=payload),
    )
    state = conversation(payload, payload, title=payload, parts=parts)
    asked = replace(state.path[0], written_by=payload)
    state = replace(
        state,
        settings=replace(state.settings, instructions=payload),
        messages={**state.messages, asked.id: asked},
    )

    assert Elements(render([state], "html").partition("</head>")[2]).dangers == []
    assert Elements(transcript([state]).html).dangers == []
    as_nbconvert = mistune.create_markdown(escape=False, plugins=["table", "url", "math", "footnotes"])
    as_commonmark = MarkdownIt("commonmark", {"html": True}).enable("table")
    for cell in nbformat.reads(render([state], "ipynb"), as_version=4).cells:
        assert re.search(r"[$\\`]|\n", cell.source) is None
        for others in (as_nbconvert(cell.source), as_commonmark.render(cell.source)):
            assert Elements(others).dangers == []
            assert Elements(others).text.strip("\0\n") == Elements(cell.source).text.strip("\0\n")


@pytest.mark.parametrize(
    "text",
    [
        *HOSTILE,
        "plain",
        "a `code` & more",
        "1 < 2",
        "[1] and ]",
        "x\n\n---",
        "\n\n  indented\n",
        r"\[ E = mc^2 \]",
        "```python\nre.sub(r'\\[x\\]', '&amp;', '<code>x</code>')\n```",
        "```\n## User\n<!-- nbchat: user -->\n```\n\nbehind it",
        "a `x[0] & <b>` and [y](javascript:z) \\] [z]",
        "1 < 2 & 3 &lt; &amp;lt;",
        "```\nnever closed",
    ],
)
def test_markdown_comes_back_as_it_was(text: str) -> None:
    """Text is exported to Markdown unchanged, and read back as the same turns."""
    written = render([conversation("Which river?", text, "Thanks.", title=f"geo {text[:40]}")] * 2, "md")
    assert text in written

    read, again = from_markdown(written)

    assert read == again
    assert read.turns == (("user", "Which river?"), ("assistant", text), ("user", "Thanks."))
    assert (read.title, read.instructions) == (" ".join(f"geo {text[:40]}".split()), "Answer briefly.")


@pytest.mark.parametrize("name", ["ada", "*a_b* <!-- nbchat: user -->", "a\n## User"])
def test_questions_have_the_names_of_their_authors(name: str) -> None:
    """Exports for people show who asked, as text on one line; Markdown is read back as the same turns."""
    state = conversation("Which river?", "The Seine.")
    asked = replace(state.path[0], written_by=name)
    state = replace(state, messages={**state.messages, asked.id: asked})
    line = " ".join(name.split())
    assert f"{line}: Which river?" in transcript([state]).text
    for to in ("html", "ipynb"):
        assert line in Elements(render([state], to)).text
    (read,) = from_markdown(render([state], "md"))
    assert read.turns == (("user", "Which river?"), ("assistant", "The Seine."))
    assert name not in render([state], "jsonl")


def test_no_text_can_contain_a_mark() -> None:
    """A text that quotes an export does not start a turn when it is exported again."""
    first = render([conversation("Which river?", "The Seine.")], "md")
    for _ in range(3):
        (read,) = from_markdown(render([conversation("Quote it.", first)], "md"))
        assert read.turns == (("user", "Quote it."), ("assistant", first))
        first = render([conversation("Quote it.", first)], "md")


def test_thoughts_are_not_read_in_as_an_answer() -> None:
    """Reasoning is in the file, and is not read back as part of the answer."""
    state = conversation("Which river?", "The Seine.")
    (answer,) = (m for m in state.path if m.role == "assistant")
    thought = replace(answer, parts=(ReasoningPart(text="Paris.\n\nThe Seine?"), *answer.parts))
    text = render([replace(state, messages={**state.messages, thought.id: thought})], "md")
    assert "> The Seine?" in text
    (read,) = from_markdown(text)
    assert read.turns == (("user", "Which river?"), ("assistant", "The Seine."))


def test_headings_in_code_begin_no_turn() -> None:
    """A heading in a code block does not start a turn, unless the block is never closed."""
    (read,) = from_markdown("## User\n\nHow?\n\n## Assistant\n\n```md\n## User\n```\n\nSo.")
    assert [role for role, _ in read.turns] == ["user", "assistant"]
    (read,) = from_markdown("## User\n\nHow?\n\n## Assistant\n\n```md\nSo.\n\n## User\n\nThanks.")
    assert [role for role, _ in read.turns] == ["user", "assistant", "user"]


def test_html_is_one_inert_file() -> None:
    """The page has a policy that loads nothing, and contains its code, lists and images."""
    image = ImagePart(text="data:image/png;base64,AAAA", name='"><script>')
    file = FilePart(text="</pre><script>", name="<b>")
    call = ToolCallPart(call_id="c", name="search", text='{"q": "<b>"}')
    page = render(
        [conversation("a", "# T\n\n- x\n- **y**\n\n```py\n1 < 2\n```", parts=(image, call, file))], "html"
    )

    assert "default-src 'none'" in page
    assert "<li><strong>y</strong></li>" in page
    assert '<span class="nbchat-mi">1</span> <span class="nbchat-o">&lt;</span>' in page
    assert "<summary>File: <bdi>&lt;b&gt;</bdi></summary>" in page
    assert '<img alt="&quot;&gt;&lt;script&gt;" src="data:image/png;base64,AAAA">' in page
    assert Elements(page.partition("</head>")[2]).dangers == []


def test_jsonl_is_the_form_of_fine_tuning() -> None:
    """JSONL has one line per conversation, with roles and contents only, and can be read back."""
    states = [conversation("q", "a"), conversation("p", "b")]
    text = render(states, "jsonl")

    assert json.loads(text.splitlines()[0]) == {
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        ]
    }
    assert [one.turns for one in from_jsonl(text)] == [
        (("user", "q"), ("assistant", "a")),
        (("user", "p"), ("assistant", "b")),
    ]
    with pytest.raises(SnapshotError, match="line 1"):
        list(from_jsonl('{"messages": [{"role": "wizard", "content": "x"}]}'))


def test_files_are_part_of_the_conversation() -> None:
    """JSONL and Markdown exports contain the text of attached files."""
    state = conversation("q", "a", parts=(FilePart(name="a.csv", text="x,y\n"),))
    assert json.loads(render([state], "jsonl"))["messages"][2]["content"] == "a\n\n`a.csv`\n```csv\nx,y\n```"
    assert "*File:* `a.csv`\n\n```\nx,y" in render([state], "md")


def test_an_exported_notebook_is_valid_and_loads(tmp_path: Path) -> None:
    """An exported notebook is valid, and contains the conversations as a saved one does."""
    path = tmp_path / "a.ipynb"
    export([conversation("q", "a")], path)

    nbformat.validate(nbformat.read(path, as_version=4))
    (saved,) = from_notebook(path).sessions
    assert [m.text for m in saved.state.path] == ["q", "a"]


def test_files_are_made_and_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export does not replace a file, follow a link, or leave the folder."""
    state = conversation("q", "a", title="../../etc/passwd")
    assert export([state], tmp_path) == tmp_path / "etc-passwd.md"
    assert [path.name for path in tmp_path.iterdir()] == ["etc-passwd.md"]
    with pytest.raises(FileExistsError, match=r"etc-passwd.md exists. Pass overwrite=True"):
        export([state], tmp_path)
    (tmp_path / "link.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(FileExistsError):
        export([state], tmp_path / "link.md")
    assert not (tmp_path / "elsewhere.md").exists()
    with pytest.raises(ValueError, match=r"no format '\.exe'"):
        export([state], tmp_path / "a.exe")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no format 'pdf'"):
        export([state], "pdf")
    export([state], "named", to="md")
    assert {path.name for path in tmp_path.iterdir()} == {"etc-passwd.md", "link.md", "named"}
    assert slug("con") == "chat-con"
    assert slug("…") == "chat"
    assert len(slug("é" * 200).encode()) <= 80
    assert slug("e\u0301te\u0301") == "\u00e9t\u00e9"
    assert slug("हिन्दी" * 20) == "हिन्दी" * 4 + "हि"
    assert slug("❤️ love") == "love"


@pytest.mark.parametrize("to", list(FORMATS))
def test_a_session_exports_itself(to: str, tmp_path: Path) -> None:
    """`Session.export` returns the text of a format, or writes a file."""
    registry = SessionRegistry()
    try:
        geo = registry.create("geo", provider=ScriptedProvider("The Seine."))
        geo.ask("Which river?")
        assert "The Seine." in geo.export(to)
        geo.export(tmp_path / f"out.{to}")
        assert "The Seine." in (tmp_path / f"out.{to}").read_text()
    finally:
        engine_of(registry).shutdown()


def test_a_transcript_has_a_limit() -> None:
    """A long conversation shows its newest turns with a note on the others, and a long answer is cut."""
    turn = transcript([conversation(*(f"turn {i} " + "x" * 100 for i in range(50)))], limit=4000)
    assert len(turn.html) < 4300
    assert "<p><em>Earlier messages are not shown here.</em></p>" in turn.html
    assert "turn 49" in turn.html
    assert "turn 49" in turn.text
    assert "turn 1 " not in turn.html
    long = transcript([conversation("long", "$" * 10_000)], limit=4000)
    assert Elements(long.html).text.count("$") == 2000


def test_a_long_transcript_is_folded() -> None:
    """Only the newest six messages of a long conversation are unfolded, and the plain text has all."""
    texts = [f"message {i}." for i in range(14)]
    long, short = conversation(*texts), conversation(*texts[:8])
    turn = transcript([short, long])
    first, second = turn.html.split("<h1>")[1:]
    assert "<details>" not in first
    folded, opened = second.split("</details>")
    assert "<summary>Earlier messages (8)</summary>" in folded
    assert [text in folded for text in texts] == [True] * 8 + [False] * 6
    assert [text in opened for text in texts] == [False] * 8 + [True] * 6
    assert [turn.text.count(text) for text in texts] == [2] * 8 + [1] * 6


def test_a_folded_transcript_counts_the_messages_that_it_has() -> None:
    """The number of earlier messages is that of the messages in the fold, wherever the limit ends it."""
    texts = [f"message {i}." for i in range(14)]
    for limit in range(100, 2000, 50):
        html = transcript([conversation(*texts)], limit=limit).html
        folded, _, _ = html.rpartition("</details>")
        count = sum(text in folded for text in texts)
        assert ("<details>" in html) == (count > 0)
        assert not folded or f"<summary>Earlier messages ({count})</summary>" in folded


def test_a_transcript_renders_only_changed_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rendered message is not rendered again, and removed messages leave the cache."""
    state, longer = conversation("a", "b"), conversation("a", "b", "c")
    rendered: Rendered = {}
    first = transcript([state], rendered=rendered)
    asked: list[str] = []
    beside = turns.beside  # called once for each rendered message
    monkeypatch.setattr(turns, "beside", lambda message: asked.append(message.text) or beside(message))
    assert transcript([longer], rendered=rendered).html.startswith(first.html)
    assert asked == ["c"]
    transcript([state], rendered=rendered)
    assert len(rendered) == 2


def test_the_command_reads_a_saved_notebook(tmp_path: Path) -> None:
    """`nbchat export` prints every format without a kernel, and reports errors in one line."""
    path = tmp_path / "a.ipynb"
    export([conversation("Which river?", "The Seine.")], path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nbchat", "export", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for to in FORMATS:
        done = run(str(path), "--to", to)
        assert done.returncode == 0
        assert "The Seine." in done.stdout
    assert run(str(path), "--to", "html", "-o", str(tmp_path / "o.html")).stdout == ""
    assert "The Seine." in (tmp_path / "o.html").read_text()
    assert run(str(path), "-o", str(tmp_path / "by-name.html")).returncode == 0
    assert (tmp_path / "by-name.html").read_text() == (tmp_path / "o.html").read_text()

    raw = {"data": {"text/markdown": "*x*", "text/plain": "<Message m user, 3 characters>"}}
    notebook = json.loads(path.read_text())
    notebook["cells"].append({"cell_type": "code", "source": ["nbchat.ask('x')"], "outputs": [raw, raw]})
    (tmp_path / "old.ipynb").write_text(json.dumps(notebook))
    said = run(str(tmp_path / "old.ipynb")).stderr
    assert "has 2 outputs that an earlier version saved as raw Markdown" in said

    (tmp_path / "broken.ipynb").write_text("<<<<<<< HEAD")
    for name, problem in [("broken.ipynb", "not a notebook"), ("none.ipynb", "No such file")]:
        failed = run(str(tmp_path / name))
        assert failed.returncode == 1
        assert re.fullmatch(rf"nbchat: .*{problem}.*\n", failed.stderr)


def test_a_file_is_replaced_with_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`overwrite` replaces a file, or a link but not its target, and a failure changes nothing."""
    file, other = tmp_path / "a.md", tmp_path / "other.md"
    file.write_text("before")
    other.write_text("other")
    assert export([conversation("q", "a")], file, overwrite=True) == file
    assert "## Assistant" in file.read_text()
    (tmp_path / "link.md").symlink_to(other)
    export([conversation("q", "a")], tmp_path / "link.md", overwrite=True)
    assert other.read_text() == "other"
    assert not (tmp_path / "link.md").is_symlink()

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError):  # noqa: PT011 - the one raised above
        export([conversation("another", "a")], file, overwrite=True)
    assert "another" not in file.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"a.md", "other.md", "link.md"}


def test_jsonl_of_any_text_comes_back() -> None:
    """Characters that are line ends in Python but not in JSON do not split a line."""
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\r\nh\ri"
    (one,) = from_jsonl(render([conversation(text, text)], "jsonl"))
    assert one.turns == (("user", text), ("assistant", text))


def test_load_and_import_make_sessions(tmp_path: Path) -> None:
    """`nbchat.load` and `nbchat.import_` create sessions without adopting settings or sending requests."""
    export([conversation("q", "a", title="loaded here")], tmp_path / "a.ipynb")
    (tmp_path / "b.md").write_text("# Talk\n\n## You\n\nhi\n\n## Assistant\n\nhello\n")
    before = len(nbchat.registry)
    try:
        (loaded,) = nbchat.load(tmp_path / "a.ipynb")
        assert nbchat.load(tmp_path / "a.ipynb") == [loaded]
        assert [m.text for m in loaded.messages] == ["q", "a"]
        assert loaded.from_file
        (imported,) = nbchat.import_(tmp_path / "b.md")
        assert (imported.title, [m.text for m in imported.messages]) == ("Talk", ["hi", "hello"])
        assert not imported.from_file
        with pytest.raises(SnapshotError):
            nbchat.load(tmp_path / "b.md")
    finally:
        for session in list(nbchat.registry.values())[before:]:
            session.delete()


@pytest.mark.parametrize(
    ("output", "source", "raw"),
    [
        ({"data": {"text/markdown": ["a"], "text/plain": ["a"]}}, ["%%chat\n", "a"], 1),
        ({"data": {"text/markdown": "a", "text/plain": "a"}}, "%chat fix", 1),
        ({"data": {"text/markdown": "a", "text/plain": "b"}}, "%%chat\na", 0),
        ({"data": {"text/markdown": "a", "text/plain": "a"}}, "display(x)", 0),
        ({"data": {"text/markdown": "a", "text/plain": "<Run run_1 completed, 1 characters>"}}, "run", 1),
        ({"data": {"text/markdown": "a", "text/plain": "<IPython.core.display.Markdown object>"}}, "x", 0),
        ({"data": {"text/markdown": "a"}, "metadata": {"nbchat": {"transcript": "nbchat-1"}}}, "chat", 1),
        ({"data": {"text/html": "a"}, "metadata": {"nbchat": {"transcript": "nbchat-1"}}}, "chat", 0),
        ({"data": None, "metadata": None}, None, 0),
        ("not an output", 3, 0),
    ],
)
def test_outputs_of_earlier_versions_are_found(output: object, source: object, raw: int) -> None:
    """Raw Markdown outputs of nbchat are counted, and those of other code are not."""
    cell = {"cell_type": "code", "source": source, "outputs": [output]}
    assert count_raw_outputs({"cells": [cell, "not a cell"]}) == raw


def test_sources_and_thoughts_are_exported_and_read_back() -> None:
    """Sources are exported as links and thoughts as reasoning, and neither becomes the answer's text."""
    cited = (
        Source(title="<b>A</b> [x](y)", url="https://example.org/a?b=c&d=(e)"),
        Source(title="rivers.pdf"),
        Source(title="run", url="javascript:alert(1)"),
        Source(title="break", url="https://example.org/> <script>alert(1)</script>"),
    )
    question = Message(id="q", role="user", parts=(TextPart(text="?"),))
    answer = Message(
        id="a",
        role="assistant",
        parent_id="q",
        parts=(TextPart(text="<think>\nhm\n</think>\n\nThe Seine [1]."),),
        sources=cited,
    )
    state = SessionState(id="s", messages={"q": question, "a": answer}, selected={ROOT: "q", "q": "a"})

    markdown = render((state,), "md")
    assert "](<https://example.org/a?b=c&d=(e)>)" in markdown
    assert "> hm" in markdown
    assert re.findall(r"^\d\.", markdown, re.MULTILINE) == ["1.", "2.", "3.", "4."]
    page = render((state,), "html")
    assert re.findall('href="([^"]*)"', page) == ["https://example.org/a?b=c&amp;d=(e)"]
    assert "<details><summary>Reasoning</summary>" in page
    assert page.count("<li>") == 4
    notebook = render((state,), "ipynb")
    turn = transcript((state,))
    for text in (page, json.loads(notebook)["cells"][-1]["source"], turn.html):
        assert Elements(text.partition("</head>")[2] or text).dangers == []
        assert "rivers" in text
    assert turn.text.endswith("Assistant: The Seine [1].")

    (back,) = from_markdown(markdown)
    assert back.turns == (("user", "?"), ("assistant", "The Seine [1]."))
    (restored,) = parse(json.loads(notebook)["metadata"]["nbchat"]).sessions
    assert restored.state.messages["a"] == answer


@pytest.mark.parametrize(
    ("state", "note"),
    [
        (RunState.STREAMING, "This answer was still being generated."),
        (RunState.STOPPED, "This answer was stopped."),
        (RunState.INTERRUPTED, "This answer was interrupted."),
        (RunState.INCOMPLETE, "The model stopped before this answer was complete."),
        (RunState.FAILED, "This question got no answer."),
        (RunState.COMPLETED, None),
    ],
)
def test_an_answer_that_is_not_whole_is_marked_in_a_transcript(state: RunState, note: str | None) -> None:
    """An incomplete answer has a note on the state of its last run, and a complete one has no note."""
    talk = conversation("Rivers?", "The Seine")
    answer = talk.path[-1].id
    runs = tuple(
        RunRecord(id=f"r-{n}", kind="send", message_id=answer, queued_at=n, state=one)
        for n, one in enumerate((RunState.FAILED, state))
    )
    turn = transcript([replace(talk, runs=runs)])
    assert (turn.text.splitlines()[-1] == f"({note})") is (note is not None)
    assert turn.html.count("<em>") == (note is not None)
