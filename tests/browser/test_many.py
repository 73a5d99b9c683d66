"""Many sessions in a real JupyterLab: rename, archive, find, side view, settings and notifications."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook

CHAT = """
import nbchat
from nbchat.providers.scripted import PAUSE, ScriptedProvider
chat = nbchat.ChatTabs()
slow = ScriptedProvider("So ", "far.", PAUSE, " Done.", models=["small", "large"])
chat.session("a", provider=slow)
chat.session("b", model="nbchat-echo", params={"nbchat_pace": 0})
chat.session("c", model="nbchat-echo", params={"nbchat_pace": 0})
chat
"""


def test_sessions_are_named_put_away_and_found(notebook: OpenNotebook) -> None:
    """By menu, list and keyboard, sessions are renamed, pinned, closed, archived, deleted and restored."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("a").click()
    chat.ask("Go on.")
    page.execute("slow.wait_paused()")
    chat.tab("b").click()
    expect(chat.tab("a")).to_have_attribute("aria-label", "a, streaming")

    chat.tab("b").press("F2")
    name = chat.region.get_by_role("textbox", name="Title")
    name.fill("beta")
    name.press("Enter")
    expect(chat.tab("beta")).to_be_focused()
    chat.menu("Pin")
    expect(chat.tabs.first).to_have_attribute("aria-label", "beta, pinned")

    chat.tab("a").click()
    chat.tab("a").press("Delete")
    closed = chat.region.get_by_text("Closed “a”. Its answer continues in the background.").first
    expect(closed).to_be_visible()
    expect(chat.tab("a")).to_have_count(0)
    chat.button("All sessions").click()
    dialog = chat.page.get_by_role("dialog", name="All sessions")
    dialog.get_by_role("searchbox").fill("a")
    entry = dialog.get_by_role("button", name=re.compile("^a"))
    expect(entry).to_contain_text(re.compile(r"answering · 7 characters · \d"))
    entry.click()
    expect(chat.tab("a")).to_have_attribute("aria-selected", "true")
    page.execute("slow.go()")
    expect(chat.articles("Assistant")).to_contain_text("So far. Done.")

    chat.tab("c").click()
    for item, said in (("Archive", "Archived"), ("Delete", "Deleted")):
        chat.menu(item)
        expect(chat.region.get_by_text(f"{said} “c”.").first).to_be_visible()
        expect(chat.tab("c")).to_have_count(0)
        chat.button("Undo").click()
        expect(chat.tab("c")).to_have_attribute("aria-selected", "true")
    chat.menu("Close")
    chat.button("Reopen").click()
    expect(chat.tab("c")).to_be_visible()
    assert page.uncaught_errors == []


def test_two_sessions_side_by_side_and_their_settings(notebook: OpenNotebook) -> None:
    """Sessions answer side by side; models come from the server, and the next run uses the settings."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("b").click()
    chat.tab("a").press("Shift+F10")
    chat.page.get_by_role("menuitemcheckbox", name="Show in side view").click()
    beside = chat.region.get_by_role("group", name="a", exact=True)
    beside.get_by_role("textbox", name="Message").fill("Go on.")
    beside.get_by_role("button", name="Send").click()
    page.execute("slow.wait_paused()")
    expect(beside.get_by_role("log")).to_contain_text("So far.")
    chat.box.first.fill("Here?")
    chat.box.first.press("Enter")
    expect(chat.articles("Assistant")).to_contain_text("Here?")
    left, right = chat.log.bounding_box(), beside.get_by_role("log").bounding_box()
    assert left
    assert right
    assert left["x"] + left["width"] <= right["x"] + 1

    beside.get_by_role("button", name=re.compile("^Model")).click()
    dialog = chat.page.get_by_role("dialog", name="Session settings")
    models = dialog.locator("datalist option")
    expect(models).to_have_count(2)
    dialog.get_by_label("Model").fill("large")
    dialog.get_by_label("Instructions").fill("Answer briefly.")
    dialog.get_by_label("Temperature").fill("0.3")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    page.execute("slow.go()")
    expect(beside.get_by_role("log")).to_contain_text("Done.")
    beside.get_by_role("textbox", name="Message").fill("Again.")
    beside.get_by_role("textbox", name="Message").press("Enter")
    page.execute("slow.wait_paused(); slow.go(); nbchat.session('a').runs[-1].wait(20)")
    used = chat.kernel("(lambda r: (r.model, r.instructions, dict(r.params)))(slow.requests[-1])")
    assert used == "('large', 'Answer briefly.', {'temperature': 0.3})"
    chat.button("Close side view").click()
    expect(beside).to_have_count(0)
    assert page.uncaught_errors == []


def test_notifications_announce_an_end_while_the_page_is_hidden(notebook: OpenNotebook) -> None:
    """If enabled in the menu, the browser notifies of a finished answer only while the page is hidden."""
    page = notebook([CHAT])
    page.page.context.grant_permissions(["notifications"])
    page.page.evaluate("""() => {
      window.notified = [];
      window.Notification = class extends window.Notification {
        constructor(title, options) { super(title, options); window.notified.push([title, options.body]); }
      };
    }""")
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("a").click()
    chat.button("Session menu").click()
    chat.page.get_by_role("menuitemcheckbox", name="Notify me when an answer ends").click()
    for hidden in (False, True):
        chat.ask("Go on.")
        page.execute("slow.wait_paused()")
        page.page.evaluate(
            """hidden => {
                Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
                document.dispatchEvent(new Event("visibilitychange")); }""",
            hidden,
        )
        page.execute("slow.go()")
        expect(chat.articles("Assistant").last).to_contain_text("Done.", timeout=60_000)
    page.page.wait_for_function("notified.length > 0")
    assert page.page.evaluate("notified") == [["a", "done"]]
