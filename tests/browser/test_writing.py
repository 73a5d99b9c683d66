"""Writing in a real JupyterLab: drafts, history, keys, queued questions, and versions of a turn."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook

CHAT = """
import nbchat
from nbchat.providers.scripted import HANG, ScriptedProvider
chat = nbchat.ChatTabs()
long = ScriptedProvider(lambda r: [f"re: {r.messages[-1].text}"] if r.messages[1:] else ["So far.", HANG])
chat.session("long", provider=long)
chat.session("other", model="nbchat-echo", params={"nbchat_pace": 0})
chat.session("geo", model="nbchat-echo", params={"nbchat_pace": 0})
chat
"""


def test_drafts_history_and_keys(notebook: OpenNotebook) -> None:
    """Sessions keep their drafts across reloads, Up recalls questions, and the send key is a setting."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("geo").click()
    chat.button("What is nbchat?").click()
    expect(chat.box).to_have_value("What is nbchat?")
    expect(chat.box).to_be_focused()
    for question in ("First?", "Second?"):
        chat.ask(question)
        expect(chat.articles("Assistant").last).to_contain_text(question)
        expect(chat.status).to_contain_text("done")
    expect(chat.button("What is nbchat?")).to_be_hidden()

    chat.box.fill("half a thought")
    chat.tab("other").click()
    expect(chat.box).to_have_value("")
    chat.box.fill("another")
    page.save()
    page.reload()
    chat.tab("geo").click()
    expect(chat.box).to_have_value("half a thought")
    expect(chat.articles("You")).to_have_count(2)
    chat.box.press("Home")
    for key, shown in (
        ("ArrowUp", "Second?"),
        ("ArrowUp", "First?"),
        ("ArrowDown", "Second?"),
        ("ArrowDown", "half a thought"),
    ):
        chat.box.press(key)
        expect(chat.box).to_have_value(shown)

    page.execute("chat.send_key = 'ctrl-enter'")
    chat.box.fill("one line")
    chat.box.press("Enter")
    chat.box.press_sequentially("and another")
    expect(chat.box).to_have_value("one line\nand another")
    chat.box.press("Control+Enter")
    expect(chat.articles("You").last).to_contain_text("and another")
    expect(chat.status).to_contain_text("done")
    assert chat.kernel("nbchat.session('geo').messages[-2].text") == "one line\nand another"


def test_queued_prompts_can_be_edited_and_removed(notebook: OpenNotebook) -> None:
    """Queued questions can be edited and removed; Escape stops the answer, and the next one is asked."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("long").click()
    chat.ask("Go on.")
    expect(chat.articles("Assistant")).to_contain_text("So far.")
    for question in ("Second?", "Third?"):
        chat.ask(question)
    waiting = chat.region.get_by_role("list", name="Queued questions").get_by_role("listitem")
    expect(waiting).to_have_count(2)
    waiting.nth(0).get_by_role("button", name="Change").click()
    editor = waiting.get_by_role("textbox", name="Edited text")
    editor.fill("Zweitens?")
    editor.press("Enter")
    expect(waiting.nth(0)).to_contain_text("Zweitens?")
    waiting.nth(1).get_by_role("button", name="Remove").click()
    expect(waiting).to_have_count(1)
    chat.box.press("Escape")
    expect(chat.articles("Assistant").last).to_contain_text("re: Zweitens?")
    session = "nbchat.session('long')"
    page.execute(f"{session}.runs[1].wait(20)")
    assert chat.kernel(f"[str(run.state) for run in {session}.runs]") == "['stopped', 'completed', 'stopped']"
    said = chat.kernel(f"[message.text for message in {session}.messages]")
    assert said == "['Go on.', 'So far.', 'Zweitens?', 're: Zweitens?']"


def test_versions_of_a_turn_and_a_fork(notebook: OpenNotebook) -> None:
    """Editing and regenerating keep earlier versions, and a fork continues from any message."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("geo").click()
    chat.ask("First?")
    expect(chat.status).to_contain_text("done")
    chat.articles("Assistant").get_by_role("button", name="Regenerate").click()
    expect(chat.articles("Assistant").get_by_role("img", name="Version 2 of 2")).to_be_visible()

    chat.articles("You").get_by_role("button", name="Edit").click()
    editor = chat.region.get_by_role("textbox", name="Edited text")
    editor.fill("Erstens?")
    chat.articles("You").get_by_role("button", name="Send").click()
    expect(chat.articles("Assistant")).to_contain_text("Erstens?")
    expect(chat.status).to_contain_text("done")
    chat.articles("You").get_by_role("button", name="Previous version").click()
    expect(chat.articles("You")).to_contain_text("First?")
    expect(chat.articles("Assistant")).to_contain_text("First?")
    page.save()
    page.reload()
    chat.tab("geo").click()
    expect(chat.articles("You").get_by_role("img", name="Version 1 of 2")).to_be_visible()
    chat.articles("You").get_by_role("button", name="Next version").click()
    expect(chat.articles("Assistant")).to_contain_text("Erstens?")

    chat.articles("Assistant").get_by_role("button", name="Fork").click()
    expect(chat.tabs).to_have_count(4)
    fork = chat.region.get_by_role("tab", selected=True)
    expect(fork).not_to_have_attribute("data-session-id", chat.kernel("nbchat.session('geo').id"))
    expect(chat.articles("Assistant")).to_contain_text("Erstens?")
    chat.ask("Only here?")
    expect(chat.articles("Assistant").last).to_contain_text("Only here?")
    expect(chat.status).to_contain_text("done")
    assert chat.kernel("[m.text for m in nbchat.session('geo').messages]") == "['Erstens?', 'Erstens?']"
    assert page.uncaught_errors == []
