"""After an interruption the page names its cause and offers choices; nothing happens by itself."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import NotebookPage, wait_for
from tests.browser.test_restore import kernel, kill_kernel, region

WORDS = " ".join(f"word{i}" for i in range(600))
"""Texts that the sessions repeat, in which a missing or repeated word can be detected."""

ANSWER_MS = 60_000
"""Time that an answer may take on a busy machine."""

CHOICES = ("Continue", "Regenerate", "Keep", "Discard")


@pytest.fixture
def serve() -> Iterator[Callable[[int], str]]:
    """Start `nbchat serve` at a port, in its own process; give the base URL."""
    running: list[subprocess.Popen[str]] = []

    def start(port: int) -> str:
        command = [sys.executable, "-m", "nbchat", "serve", "--port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        return found[0]

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def choose(page: NotebookPage, title: str) -> Locator:
    """Show a session, and return its log."""
    tab = region(page).get_by_role("tab", name=re.compile(rf"^{title}\b"))
    tab.click(position={"x": 12, "y": 8})
    expect(tab).to_have_attribute("aria-selected", "true")
    return region(page).get_by_role("log")


def last(log: Locator) -> Locator:
    """Return the last answer shown."""
    return log.locator("article[data-role=assistant]").last


def close_dialog(page: NotebookPage) -> None:
    """Close the dialog in which JupyterLab reports that a kernel died and was restarted."""
    dialog = page.page.get_by_role("dialog", name=re.compile("appears to have died"))
    dialog.get_by_role("button", name="Ok").click()
    expect(dialog).to_have_count(0)


def messages(page: NotebookPage, title: str) -> list[str]:
    """Return the messages of a session."""
    found: list[str] = kernel(page, f"[m.text for m in nbchat.session({title!r}).messages]")
    return found


def shown(article: Locator) -> list[str]:
    """Return the words of a displayed answer."""
    return re.findall(r"word\d+", article.inner_text())


def test_a_killed_kernel_is_reported_and_an_answer_resumed(
    notebook: OpenNotebook, serve: Callable[[int], str]
) -> None:
    """A server that outlives the kernel has the rest of the answer; Resume completes it, each word once."""
    url = serve(0)
    page = notebook(
        [
            f"""import nbchat
nbchat.config(base_url={url!r}, api="responses")
chat = nbchat.ChatTabs()
chat.session("A", model="nbchat-echo", params={{"nbchat_pace": 3}})
chat"""
        ]
    )
    page.run_cell(0)
    box = region(page).get_by_role("textbox", name="Message")
    box.fill(WORDS)
    box.press("Enter")
    wait_for(lambda: len(shown(last(region(page).get_by_role("log")))) > 40, "an answer on its way", 60)

    kill_kernel(page)
    expect(region(page).locator("[data-connection]").first).to_have_attribute("data-connection", "restarted")
    expect(region(page)).to_contain_text("Run this cell again to continue.")
    assert shown(last(region(page).get_by_role("log")))  # earlier text can still be read
    close_dialog(page)
    page.run_all()

    answer = last(choose(page, "A"))
    expect(answer).to_contain_text("kernel ended while this was being answered", timeout=ANSWER_MS)
    before = messages(page, "A")[-1]
    assert 0 < len(before) < len(WORDS)
    assert kernel(page, "nbchat.registry.stats()['runs']") == 0  # no run started by itself
    answer.get_by_role("button", name="Resume").click()

    expect(answer).to_contain_text("word599", timeout=ANSWER_MS)
    wait_for(lambda: kernel(page, "nbchat.session('A').status") == "completed", "the end", 60)
    assert messages(page, "A") == [WORDS, WORDS]
    wait_for(lambda: shown(answer) == WORDS.split(), "the whole answer on the screen")
    expect(answer.get_by_role("button", name="Resume")).to_have_count(0)


def test_each_choice_has_its_effect(notebook: OpenNotebook) -> None:
    """Continue, Regenerate, Keep and Discard work after a kernel was killed in the middle of four answers."""
    page = notebook(
        [
            f"""import nbchat
chat = nbchat.ChatTabs()
for name in {CHOICES!r}:
    chat.session(name, model="nbchat-echo", params={{"nbchat_pace": 6}})
chat"""
        ]
    )
    page.run_cell(0)
    page.execute(f"for name in {CHOICES!r}:\n    nbchat.session(name).send({WORDS!r})")
    wait_for(lambda: all(len(messages(page, name)[-1]) > 200 for name in CHOICES), "four answers")
    kill_kernel(page)
    close_dialog(page)
    page.run_all()
    left = {name: messages(page, name)[-1] for name in CHOICES}
    page.execute("for s in nbchat.registry.values():\n    s.params = {'nbchat_pace': 0}")

    for name in CHOICES:
        log = choose(page, name)
        expect(last(log)).to_contain_text("kernel ended while this was being answered")
        assert set(shown(last(log))) < set(WORDS.split())
        last(log).get_by_role("button", name=name, exact=True).click()
        expect(log.get_by_role("button", name="Discard")).to_have_count(0)

    wait_for(lambda: messages(page, "Continue")[-1] == WORDS, "the continued answer")
    log = choose(page, "Continue")
    wait_for(lambda: shown(last(log)) == WORDS.split(), "it on the screen, each word once")

    wait_for(lambda: messages(page, "Regenerate")[-1] == WORDS, "another answer")
    log = choose(page, "Regenerate")
    expect(last(log)).to_contain_text("2 / 2")
    last(log).get_by_role("button", name="Previous version").click()
    wait_for(lambda: messages(page, "Regenerate")[-1] == left["Regenerate"], "the first version")

    assert messages(page, "Keep") == [WORDS, left["Keep"]]
    log = choose(page, "Keep")
    expect(last(log)).not_to_contain_text("kernel ended")

    wait_for(lambda: messages(page, "Discard") == [WORDS], "the question alone")
    expect(choose(page, "Discard").locator("article[data-role=assistant]")).to_have_count(0)
    runs = kernel(
        page, "{s.title: [str(r.state) for r in s.runs] for s in nbchat.registry.values() if s.runs}"
    )
    assert runs == {
        "Continue": ["interrupted", "completed"],
        "Regenerate": ["interrupted", "completed"],
        "Keep": ["interrupted"],
        "Discard": ["interrupted"],
    }
    assert page.uncaught_errors == []


def test_offline_all_but_sending_works(notebook: OpenNotebook, serve: Callable[[int], str]) -> None:
    """A question that failed offers Retry, even after a restart, and is answered once a server is up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = notebook(
        [
            f"""import nbchat
nbchat.config(base_url="http://127.0.0.1:{port}/v1", model="nbchat-echo")
nbchat.registry.limits.retries = 0
chat = nbchat.ChatTabs()
chat.session("A")
chat"""
        ]
    )
    page.run_cell(0)
    box = region(page).get_by_role("textbox", name="Message")
    box.fill("is anybody there")
    box.press("Enter")
    log = region(page).get_by_role("log")
    expect(last(log)).to_contain_text("nothing listens there", timeout=ANSWER_MS)
    expect(last(log).get_by_role("button", name="Retry")).to_be_visible()

    # None of these needs a server: another session, a new title, a draft, the saved file.
    tabs = region(page).get_by_role("tab").count()
    region(page).get_by_role("button", name="New session").click()
    expect(region(page).get_by_role("tab")).to_have_count(tabs + 1)
    choose(page, "A")
    box.fill("a draft")
    page.execute("nbchat.session('A').rename('Alpha')")
    choose(page, "Alpha")
    expect(box).to_have_value("a draft")
    wait_for(lambda: "is anybody there" in str(page.metadata().get("nbchat")), "a checkpoint")
    page.save()
    assert "nothing listens there" in page.file.read_text(encoding="utf-8")

    page.restart_kernel()
    page.run_all()
    log = choose(page, "Alpha")
    expect(last(log)).to_contain_text("nothing listens there")
    assert kernel(page, "nbchat.session('Alpha').status") == "failed"
    serve(port)
    last(log).get_by_role("button", name="Retry").click()
    expect(last(log)).to_contain_text("is anybody there", timeout=ANSWER_MS)
    expect(last(log)).not_to_contain_text("nothing listens there")
    assert messages(page, "Alpha") == ["is anybody there", "is anybody there"]
