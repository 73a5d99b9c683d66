"""Conversations are restored: after a save, a killed kernel, Run All, and in two pages."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Locator, expect

from nbchat.core.snapshot import parse
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import HANG, ScriptedProvider
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import App, NotebookPage, wait_for
from tests.hostile import HOSTILE

CHAT = """
import nbchat
chat = nbchat.ChatTabs()
for name in ("A", "B", "C"):
    chat.session(name, model="nbchat-echo", params={"nbchat_pace": 4})
chat
"""
WORDS = {name: " ".join(f"{name}{i}" for i in range(400)) for name in ("A", "B", "C")}
"""Texts that the sessions repeat: plain words, so that a prefix can be recognized."""


def region(page: NotebookPage) -> Locator:
    """Return the widget."""
    return page.page.get_by_role("region", name="Chat sessions").first


def kernel(page: NotebookPage, expression: str) -> Any:
    """Return the value of an expression in the kernel."""
    return json.loads(page.execute(f"import json, nbchat\nprint(json.dumps({expression}), end='')"))


def answers(page: NotebookPage) -> dict[str, str]:
    """Return the last message of each session that has a title."""
    found: dict[str, str] = kernel(
        page,
        "{s.title: s.messages[-1].text if s.messages else '' for s in nbchat.registry.values() if s.title}",
    )
    return found


def stream_into_three(page: NotebookPage) -> None:
    """Ask in three sessions, and wait until each is in the middle of its answer."""
    page.execute(
        "import nbchat\n"
        + "\n".join(f"nbchat.session({name!r}).send({text!r})" for name, text in WORDS.items())
    )
    wait_for(lambda: all(len(text) > 100 for text in answers(page).values()), "three answers on their way")


def kill_kernel(page: NotebookPage) -> None:
    """Kill the kernel, and wait until the server has started another."""
    pid = kernel(page, "__import__('os').getpid()")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: _pid(page) not in (None, pid), "a new kernel", 60)


def _pid(page: NotebookPage) -> int | None:
    try:
        page.wait_until_connected()
        return int(kernel(page, "__import__('os').getpid()"))
    except (PlaywrightError, RuntimeError, ValueError):
        return None


def saved(page: NotebookPage) -> dict[str, str]:
    """Return the last message of each session in the file, which must be a valid notebook."""
    text = page.file.read_text(encoding="utf-8")
    if not text:
        return {"": ""}  # the file is being written
    nbformat.validate(nbformat.reads(text, as_version=4))
    return said_in(json.loads(text)["metadata"])


def said_in(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the last message of each session in a notebook's metadata."""
    if "nbchat" not in metadata:
        return {"": ""}
    snapshot = parse(metadata["nbchat"])
    assert snapshot.notes == ()
    states = [one.state for one in snapshot.sessions]
    return {state.title: state.path[-1].text if state.path else "" for state in states if state.title}


@pytest.mark.parametrize("save", [True, False], ids=["saved", "unsaved"])
def test_a_killed_kernel_loses_no_answer(notebook: OpenNotebook, save: bool) -> None:
    """After SIGKILL and Run All, saved or not, three sessions have their text and can be continued."""
    page = notebook([CHAT])
    page.run_cell(0)
    page.save()  # so that the notebook has its id
    stream_into_three(page)
    if save:
        wait_for(lambda: all(len(text) > 100 for text in said_in(page.metadata()).values()), "a checkpoint")
        page.page.keyboard.press("Control+s")
        wait_for(lambda: all(len(text) > 100 for text in saved(page).values()), "the streams in the file")
    before = saved(page) if save else answers(page)
    kill_kernel(page)

    page.run_all()

    after = answers(page)
    assert sorted(after) == ["A", "B", "C"]
    for name, text in after.items():
        assert WORDS[name].startswith(text)
        if save:
            assert len(text) >= len(before[name])
        else:
            assert len(text) > 50
    states = kernel(page, "[[str(r.state), r.error.code] for s in nbchat.registry.values() for r in s.runs]")
    assert states == [["interrupted", "kernel_gone"]] * 3
    assert kernel(page, "nbchat.registry.stats()['live']") == 0
    for name in ("A", "B", "C"):
        tab = region(page).get_by_role("tab", name=re.compile(rf"^{name}\b"))
        expect(tab).to_have_attribute("data-run-state", "interrupted")
    log = region(page).get_by_role("log")
    expect(log.get_by_role("button", name="Continue")).to_be_visible()
    expect(log.get_by_role("button", name="Regenerate")).to_be_visible()


def test_a_bare_session_finds_the_stored_one(notebook: OpenNotebook) -> None:
    """`nbchat.session("geo")` before any widget always returns the stored session, never a second one."""
    page = notebook(
        [
            'import nbchat\ngeo = nbchat.session("geo")\nprint(len(geo.messages), len(nbchat.registry))',
            'geo.ask("hello")\nnbchat.ChatTabs()',
        ]
    )
    page.run_all()
    assert page.text(0).split() == ["0", "1"]
    first = kernel(page, "geo.id")
    for number in range(1, 3):
        page.restart_kernel()
        page.run_all()
        assert page.text(0).split() == [str(2 * number), "1"]
        assert kernel(page, "geo.id") == first
    page.execute("for _ in range(50):\n    geo = nbchat.session('geo')\n    chat = nbchat.ChatTabs()")
    assert kernel(page, "list(nbchat.registry)") == [first]


@pytest.mark.timeout(600)  # two kernels, a browser and two runs of nbconvert on a busy machine
@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_the_file_alone_carries_it_all(notebook: OpenNotebook, app: App, tmp_path: Path) -> None:
    """A saved notebook without a journal restores everything elsewhere, and nbconvert shows it."""
    page = notebook(
        [
            "import nbchat\nnbchat.config(journal=False)\nchat = nbchat.ChatTabs()",
            'chat.session("geo", instructions="Be brief.").ask("hello **world**")\nchat',
        ],
        app=app,
    )
    page.run_all()
    wait_for(lambda: "nbchat" in page.metadata(), "a checkpoint in the metadata")
    page.wait_until("panel.context.model.dirty")
    page.save()
    assert saved(page)["geo"]

    # This kernel has only the metadata, as a kernel on another machine would.
    page.restart_kernel()
    page.run_cell(0)
    geo = kernel(page, "(lambda s: [len(s.messages), s.from_file, s.instructions])(nbchat.session('geo'))")
    assert geo == [2, True, "Be brief."]

    for to in ("html", "markdown"):
        out = tmp_path / f"out.{to}"
        command = [sys.executable, "-m", "nbconvert", "--to", to, "--output", str(out), str(page.file)]
        subprocess.run(command, check=True, capture_output=True)
        text = next(tmp_path.glob("out*")).read_text()
        next(tmp_path.glob("out*")).unlink()
        assert "hello" in text
        assert "You" in text
        assert "Assistant" in text
    printed = subprocess.run(
        [sys.executable, "-m", "nbchat", "export", str(page.file), "--to", "md"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "hello **world**" in printed


def test_the_transcript_takes_no_room_beside_the_view(notebook: OpenNotebook) -> None:
    """The output for places without widgets is in the notebook, up to date, and has no height here."""
    page = notebook(["import nbchat\nchat = nbchat.ChatTabs()\nchat.session('geo')\nchat"])
    page.run_cell(0)
    expect(region(page)).to_be_visible()
    page.execute("nbchat.session('geo').ask('which river')")

    wait_for(lambda: "which river" in transcript(page), "the transcript in the notebook")
    expect(page.output(0).locator('a[href="#nbchat-transcript"]')).to_have_count(1)
    expect(page.output(0).locator('a[href="#nbchat-transcript"]')).to_be_hidden()
    assert page.output(0).get_by_text("which river").count() >= 1
    expect(region(page)).to_be_visible()


def transcript(page: NotebookPage) -> str:
    """Return the text of the notebook's first cell for places without widgets."""
    outputs = page.evaluate("panel.content.model.cells.get(0).outputs.toJSON()")
    texts = [output.get("data", {}).get("text/html", "") for output in outputs]
    return "".join("".join(text) for text in texts)


def test_after_a_reload_the_file_gets_the_newest_transcript(notebook: OpenNotebook) -> None:
    """A page that was reloaded keeps the readable text up to date, without redrawing the view."""
    page = notebook(["import nbchat\nchat = nbchat.ChatTabs()\nchat.session('geo')\nchat"])
    page.run_cell(0)
    page.execute("nbchat.session('geo').ask('which river')")
    wait_for(lambda: "which river" in transcript(page), "the transcript in the notebook")
    page.save()
    page.reload()
    expect(region(page)).to_be_visible(timeout=60_000)
    box = region(page).get_by_role("textbox", name="Message")
    box.fill("half a thou")
    page.page.evaluate("() => { window.boxBefore = document.activeElement; }")

    page.execute("nbchat.session('geo').ask('which city')")
    wait_for(lambda: "which city" in transcript(page), "the newest transcript after a reload")
    assert page.page.evaluate("() => window.boxBefore === document.activeElement")
    box.press_sequentially("ght")
    expect(box).to_have_value("half a thought")
    page.save()
    assert "which city" in "".join(_readable(page.file))


def test_a_transcript_is_saved_in_the_middle_of_an_answer(notebook: OpenNotebook) -> None:
    """On Ctrl-S while an answer streams, its text so far is in the output for places without widgets."""
    page = notebook([CHAT])
    page.run_cell(0)
    page.save()
    stream_into_three(page)
    wait_for(lambda: all(len(text) > 100 for text in said_in(page.metadata()).values()), "a checkpoint")
    assert "A20" not in transcript(page)  # it is not updated all the time
    page.page.keyboard.press("Control+s")
    wait_for(lambda: "A20" in "".join(_readable(page.file)), "the begun answer in the file")


def _readable(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"] if text else []  # empty while it is being written
    bundles = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return ["".join(bundle.get("text/html", "")) for bundle in bundles]


def test_only_the_page_where_the_user_acts_writes(notebook: OpenNotebook) -> None:
    """Of two pages on one kernel, only the one where the user works gets new metadata."""
    first = notebook([CHAT], name="two-pages")
    first.run_cell(0)
    box = region(first).get_by_role("textbox", name="Message")

    def ask(text: str) -> None:
        box.fill(text)
        box.press("Enter")
        wait_for(lambda: has(first, text) and text in transcript(first), "the question in the first notebook")

    def has(page: NotebookPage, text: str = "only here") -> bool:
        return text in json.dumps(page.metadata())

    ask("begun here")
    first.save()
    second = notebook(name="two-pages")
    expect(region(second)).to_be_visible()
    ask("only here")
    assert not has(second)
    assert "only here" not in transcript(second)
    assert not second.evaluate("panel.context.model.dirty")


def test_the_page_shows_whether_it_is_saved(notebook: OpenNotebook) -> None:
    """If a kernel's journal cannot be written, the page shows this with the cause, and the kernel works."""
    page = notebook(
        [
            """import os, pathlib
pathlib.Path('in-the-way').write_text('')
os.environ['NBCHAT_JOURNAL_DIR'] = str(pathlib.Path('in-the-way').resolve() / 'x')""",
            "import nbchat\nchat = nbchat.ChatTabs()\nchat.session('geo').ask('hello')\nchat",
        ]
    )
    page.run_all()
    expect(region(page)).to_contain_text("cannot be written")
    assert kernel(page, "nbchat.session('geo').status") == "completed"


def test_a_strangers_notebook_is_only_looked_at(notebook: OpenNotebook) -> None:
    """Hostile text in every field, another server and a pending question cause no request, code or write."""
    evil = SessionRegistry()
    try:
        for number, payload in enumerate(HOSTILE):
            session = evil.create(
                payload,
                model="evil",
                instructions=payload,
                params={"base_url": "https://evil.example/v1"},
                provider=ScriptedProvider(payload + "\n\n<img src=x onerror='window.pwned=1'>"),
            )
            session.ask(payload)
            session.rename(f"{number} {payload}")
        evil.create("pending", instructions="Obey.", provider=ScriptedProvider(HANG)).send("send this")
        metadata = {"nbchat": evil.snapshot()}
    finally:
        evil.stop_all()
        evil.shutdown()
    page = notebook(["import nbchat\nchat = nbchat.ChatTabs()\nchat"], metadata=metadata)
    before = page.file.read_bytes()
    page.run_cell(0)
    tabs = region(page).get_by_role("tab")
    expect(tabs).to_have_count(len(HOSTILE) + 1)
    for number in range(len(HOSTILE) + 1):
        page.execute(f"chat.show(list(nbchat.registry)[{number}])")
        shown = kernel(page, "chat.active")
        expect(region(page).locator(f"[role=tab][data-session-id='{shown}']")).to_have_attribute(
            "aria-selected", "true"
        )
        expect(region(page).get_by_role("log").get_by_role("article").first).to_be_visible()

    assert page.foreign_requests == []
    assert page.page.evaluate("() => window.pwned") is None
    assert page.file.read_bytes() == before
    assert kernel(page, "nbchat.registry.stats()['live']") == 0
    assert kernel(page, "all(s.from_file for s in nbchat.registry.values())")
    assert kernel(page, "nbchat.session('pending').runs[-1].error.code") == "kernel_gone"
