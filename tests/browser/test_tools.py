"""Tool calls in a real JupyterLab: they ask in a card, run as a cell does, and are back after a reload."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.browser.chat import Chat, decide
from tests.browser.conftest import OpenNotebook
from tests.waiting import wait_for

CODE = r"""
import matplotlib.pyplot as plt
answer = 6 * 7
print("the answer is", answer)
plt.plot([1, 2]);
""".strip()

CHAT = f"""
import json, nbchat
from nbchat.providers.base import Finish, ToolCallDelta
from nbchat.providers.scripted import ScriptedProvider

def script(request):
    if any(part.type == "tool_result" for part in request.messages[-1].parts):
        return ["That was it.", Finish("stop")]
    call = ToolCallDelta(0, "c0", "python", json.dumps({{"code": {CODE!r}}}))
    return ["Let me calculate. ", call, Finish("tool_calls")]

chat = nbchat.ChatTabs()
session = chat.session("tools", provider=ScriptedProvider(script, finish=None), tools=[nbchat.tools.python])
chat
"""


def card(chat: Chat, title: str) -> Locator:
    """Return the card of a call by its title."""
    return chat.log.get_by_role("group", name=title, exact=True)


def switch(chat: Chat, tool: str) -> None:
    """Choose a tool in the menu."""
    chat.button("Tools").click()
    chat.page.get_by_role("menuitemcheckbox", name=tool).click()


def is_on(chat: Chat, tool: str) -> bool:
    """Open the menu, which shows the state at that moment, and return whether a tool is on."""
    chat.button("Tools").click()
    checked = chat.page.get_by_role("menuitemcheckbox", name=tool).is_checked()
    chat.page.keyboard.press("Escape")
    return checked


def test_a_call_runs_when_it_is_approved(notebook: OpenNotebook) -> None:
    """Code is shown and not run before Run is pressed; then its text and picture are in the card."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("What is six times seven?")
    asking = card(chat, "python wants to run")
    expect(asking.locator("pre").first).to_have_text(CODE)
    expect(chat.status).to_contain_text("waiting for your approval")
    expect(chat.box).to_be_focused()
    assert chat.kernel("'answer' in globals()") == "False"
    decide(asking, "Run")
    ran = card(chat, "python ran")
    expect(ran.get_by_role("img", name="Picture 1 of python")).to_be_visible()
    ran.get_by_text("Result", exact=True).click()
    expect(ran).to_contain_text("the answer is 42")
    expect(chat.articles("Assistant")).to_contain_text("That was it.")
    assert chat.kernel("answer") == "42"
    ran.get_by_role("button", name="Insert into a new cell").click()
    expect(page.page.locator(".jp-Cell").filter(has_text="answer = 6 * 7").last).to_be_visible()
    assert page.uncaught_errors == []


def test_a_call_asks_again_after_a_reload(notebook: OpenNotebook) -> None:
    """A page that is loaded while a call asks shows its card and buttons; Don't run runs nothing."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("What is six times seven?")
    expect(card(chat, "python wants to run")).to_be_visible()
    page.save()
    page.reload()
    asking = card(chat, "python wants to run")
    expect(asking.get_by_role("button", name="Run", exact=True)).to_be_visible()
    decide(asking, "Don't run")
    expect(card(chat, "python was not run")).to_be_visible()
    expect(chat.articles("Assistant")).to_contain_text("That was it.")
    assert chat.kernel("'answer' in globals()") == "False"
    assert page.uncaught_errors == []


def test_stop_ends_a_call_that_asks(notebook: OpenNotebook) -> None:
    """After Stop the card has no buttons, and nothing was run."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("What is six times seven?")
    expect(card(chat, "python wants to run")).to_be_visible()
    chat.button("Stop").click()
    stopped = card(chat, "python was not run")
    expect(stopped).to_be_visible()
    expect(stopped.get_by_role("button", name="Run", exact=True)).to_have_count(0)
    expect(chat.status).to_contain_text("stopped")
    assert chat.kernel("'answer' in globals()") == "False"


def test_tools_are_switched_off_and_on_in_the_page(notebook: OpenNotebook) -> None:
    """The menu Tools lists the session's tools; the model is not offered one that is switched off."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    switch(chat, "python")
    wait_for(lambda: not is_on(chat, "python"), "the tool is off")
    assert chat.kernel("session.tools") == "()"
    switch(chat, "python")
    wait_for(lambda: is_on(chat, "python"), "the tool is on")
    chat.ask("What is six times seven?")
    expect(card(chat, "python wants to run")).to_be_visible()
    assert page.uncaught_errors == []
