"""Scroll positions, editors and the focus in a real JupyterLab stay as they are when the page changes."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook
from tests.browser.lab import NotebookPage

CHAT = """
import nbchat
from nbchat.providers.scripted import HANG, ScriptedProvider
chat = nbchat.ChatTabs()
long = ScriptedProvider(lambda r: [f"re: {r.messages[-1].text}"] if r.messages[1:] else ["So far.", HANG])
chat.session("waits", provider=long)
chat.session("other", provider=ScriptedProvider("Paragraph.\\n\\n" * 200))
chat
"""

SCROLLED = "panel.content.node.querySelector('.jp-WindowedPanel-outer').scrollTop"


def test_a_collapsed_output_comes_back_where_it_was_read(notebook: OpenNotebook) -> None:
    """Collapsing and expanding the output keeps the scroll position and the draft."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("Tell.")
    expect(chat.status).to_contain_text("done")
    chat.box.fill("half a thought")
    chat.log.evaluate("log => { log.scrollTop = 700; }")
    expect(chat.button("Jump to latest")).to_be_visible()
    page.evaluate("jupyterapp.commands.execute('notebook:hide-cell-outputs')")
    expect(chat.region).to_be_hidden()
    page.evaluate("jupyterapp.commands.execute('notebook:show-cell-outputs')")
    expect(chat.region).to_be_visible()
    chat.page.wait_for_function("document.querySelector('.nbchat [role=log]').scrollTop === 700")
    expect(chat.box).to_have_value("half a thought")


def test_a_moved_view_keeps_its_scroll_position(notebook: OpenNotebook) -> None:
    """Moving a cell makes a new view, with the same scroll position and the question that is being edited."""
    page = notebook([CHAT, "1 + 1"])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("Tell.")
    expect(chat.status).to_contain_text("done")
    chat.log.evaluate("log => { log.scrollTop = 0; }")
    chat.articles("You").get_by_role("button", name="Edit").click()
    editor = chat.region.get_by_role("textbox", name="Edited text")
    editor.fill("Tell me.")
    chat.log.evaluate("log => { log.scrollTop = 700; }")
    expect(chat.button("Jump to latest")).to_be_visible()
    old = chat.region.element_handle()
    page.evaluate("(panel.content.activeCellIndex = 0)")
    page.evaluate("jupyterapp.commands.execute('notebook:move-cell-down')")
    chat.page.wait_for_function("old => !old.isConnected", arg=old)
    place = "Math.round(document.querySelector('.nbchat [role=log]')?.scrollTop / 10)"
    chat.page.wait_for_function(f"{place} === 70")
    expect(editor).to_have_value("Tell me.")


def test_a_cell_that_shows_a_session_leaves_the_notebook_where_it_is(notebook: OpenNotebook) -> None:
    """Showing a session in a view far above changes its tab, but does not scroll the notebook."""
    page = notebook([CHAT, *["# " + "\n# ".join(map(str, range(40)))] * 4])
    page.run_cell(0)
    chat = Chat(page)
    expect(chat.tab("other")).to_have_attribute("aria-selected", "true")
    page.evaluate("panel.content.scrollToItem(4, 'end')")
    chat.page.wait_for_function(f"{SCROLLED.replace('panel', 'jupyterapp.shell.currentWidget')} > 800")
    before = page.evaluate(SCROLLED)
    page.execute("chat.show('waits')")
    expect(chat.tab("waits")).to_have_attribute("aria-selected", "true")
    assert page.evaluate(SCROLLED) == before


def with_a_waiting_question(page: NotebookPage) -> Chat:
    """Let a session answer without end, with another question queued."""
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("waits").click()
    chat.ask("First?")
    expect(chat.articles("Assistant")).to_contain_text("So far.")
    chat.ask("Second?")
    expect(chat.button("Change")).to_be_visible()
    return chat


def test_a_waiting_question_and_an_asked_one_are_changed(notebook: OpenNotebook) -> None:
    """An edit is kept when the user leaves the editor, and the edited question is the one that is asked."""
    chat = with_a_waiting_question(notebook([CHAT]))
    chat.button("Change").click()
    editor = chat.region.get_by_role("textbox", name="Edited text")
    expect(editor).to_be_focused()
    editor.fill("Better?")
    chat.box.click()
    expect(editor).to_be_hidden()
    expect(chat.region.get_by_role("list", name="Queued questions")).to_contain_text("Better?")
    chat.button("Stop").click()
    expect(chat.articles("Assistant").last).to_contain_text("re: Better?")
    expect(chat.status).to_contain_text("done")

    chat.articles("You").last.get_by_role("button", name="Edit").click()
    editor.fill("Best?")
    chat.tab("other").click()
    expect(editor).to_be_hidden()
    chat.tab("waits").click()
    expect(editor).to_have_value("Best?")
    editor.press("Enter")
    expect(chat.articles("Assistant").last).to_contain_text("re: Best?")
    # The focus follows when versions are changed by keyboard.
    chat.articles("You").last.get_by_role("button", name="Previous version").press("Enter")
    expect(chat.articles("Assistant").last).to_contain_text("re: Better?")
    expect(chat.articles("You").last.get_by_role("button", name="Next version")).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(chat.articles("Assistant").last).to_contain_text("re: Best?")


def test_a_restarted_kernel_leaves_nothing_going_on(notebook: OpenNotebook) -> None:
    """The page reports that the answer ended with its kernel, and offers to restore a queued question."""
    page = notebook([CHAT])
    chat = with_a_waiting_question(page)
    page.restart_kernel()
    expect(chat.region).to_contain_text("The kernel was restarted.")
    expect(chat.articles("Assistant")).to_contain_text("The answer was interrupted.")
    expect(chat.status).to_contain_text("interrupted")
    for gone in ("Stop", "Pause", "Change"):
        expect(chat.button(gone)).to_be_hidden()
    expect(chat.articles("Assistant")).not_to_have_attribute("aria-busy", "true")
    chat.button("Restore to composer").click()
    expect(chat.box).to_have_value("Second?")
    page.run_cell(0)
    chat.tab("waits").click()
    expect(chat.articles("Assistant").last).to_contain_text("So far.")
