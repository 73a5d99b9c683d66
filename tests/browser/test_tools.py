"""Tool calls in a real JupyterLab: they ask in a card, run as a cell does, and are back after a reload."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.chat import DECIDE, Chat, decide, set_theme, sticks_out, violations
from tests.browser.conftest import ARTIFACTS, OpenNotebook
from tests.browser.lab import NotebookPage
from tests.hostile import HOSTILE
from tests.waiting import wait_for

CODE = r"""
import matplotlib.pyplot as plt
answer = 6 * 7
print("the answer is", answer)
plt.plot([1, 2]);
""".strip()
COUNT = "count = globals().get('count', 0) + 1"
LOOP = """
import time
while True:
    open("{}", "a").close()
    time.sleep(0.02)
""".strip()
MIXED = [" \n ".join(HOSTILE[start::16]) for start in range(16)]

Call = tuple[str, Mapping[str, Any]]

PLANS: Mapping[str, Sequence[Sequence[Call]]] = {
    "What is six times seven?": [[("python", {"code": CODE})]],
    "Count.": [[("python", {"code": COUNT})]],
    "Loop.": [[("python", {"code": LOOP.format("tools-loop-runs")})]],
    "Look.": [[("look", {"name": "numbers"})]],
    "Rates?": [
        [("rate", {"currency": "USD"}), ("rate", {"currency": "GBP"})],
        [("rate", {"currency": "EUR"})],
    ],
    "Hostile?": [
        [("echo", {"text": text}) for text in MIXED],
        [(text, {"text": text}) for text in MIXED],
        [("python", {"code": text}) for text in MIXED],
    ],
}
"""The calls of each round, by question."""

CHAT = f"""
import json, nbchat
from nbchat.providers.base import Finish, ToolCallDelta
from nbchat.providers.scripted import ScriptedProvider

plans = json.loads({json.dumps(json.dumps(PLANS))})
rates = []

@nbchat.tool
def rate(currency: str) -> float:
    "Euro exchange rate."
    rates.append(currency)
    return 1.08

@nbchat.tool(ask=False)
def echo(text: str) -> str:
    "Return the text."
    return text

def script(request):
    question = next(message.text for message in reversed(request.messages) if message.role == "user")
    done = sum(part.type == "tool_result" for part in request.messages[-1].parts)
    for calls in plans[question]:
        if not done:
            calls = [
                ToolCallDelta(number, f"call-{{id(calls)}}-{{number}}", name, json.dumps(arguments))
                for number, (name, arguments) in enumerate(calls)
            ]
            return ["Let me look. ", *calls, Finish("tool_calls")]
        done -= len(calls)
    return ["That was it.", Finish("stop")]

chat = nbchat.ChatTabs()
tools = [nbchat.tools.python, nbchat.tools.look, rate, echo]
session = chat.session("tools", provider=ScriptedProvider(script, finish=None), tools=tools)
numbers = [3, 1, 2]
chat
"""

FOREIGN = """(log) => [...log.querySelectorAll("[data-call-id], [data-call-id] *")].filter((element) =>
  !["DIV", "PRE", "CODE", "SPAN", "BUTTON", "DETAILS", "SUMMARY", "svg", "path"].includes(element.tagName) ||
  [...element.attributes].some(({ name }) => name.startsWith("on") || name === "href" || name === "src")
).map((element) => element.outerHTML.slice(0, 300))"""
"""Elements of cards that a text has made."""


def opened(notebook: OpenNotebook, code: str = CHAT) -> tuple[NotebookPage, Chat]:
    """Return a page with the view."""
    page = notebook([code])
    page.run_cell(0)
    return page, Chat(page)


def card(chat: Chat, title: str) -> Locator:
    """Return the cards of calls with this title."""
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


def screenshot(page: NotebookPage, name: str) -> None:
    """Save a screenshot of cards."""
    page.screenshot(ARTIFACTS / "tools" / f"{name}.png")


def test_a_call_runs_when_it_is_approved(notebook: OpenNotebook) -> None:
    """Code is shown and not run before Run is pressed; then its text and picture are in the card."""
    page, chat = opened(notebook)
    chat.ask("What is six times seven?")
    asking = card(chat, "python wants to run")
    expect(asking.locator("pre").first).to_have_text(CODE)
    expect(chat.status).to_contain_text("waiting for your approval")
    expect(chat.box).to_be_focused()
    assert chat.kernel("'answer' in globals()") == "False"
    screenshot(page, "asking")
    decide(asking, "Run")
    ran = card(chat, "python ran")
    expect(ran.get_by_role("img", name="Picture 1 of python")).to_be_visible()
    ran.get_by_text("Result", exact=True).click()
    expect(ran).to_contain_text("the answer is 42")
    expect(chat.articles("Assistant")).to_contain_text("That was it.")
    assert chat.kernel("answer") == "42"
    ran.get_by_role("button", name="Copy").click()
    expect(chat.region.get_by_text("Copied", exact=True).first).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == CODE
    ran.get_by_role("button", name="Insert into a new cell").click()
    expect(page.page.locator(".jp-Cell").filter(has_text="answer = 6 * 7").last).to_be_visible()
    screenshot(page, "ran")
    assert page.uncaught_errors == []


def test_a_call_asks_again_after_a_reload(notebook: OpenNotebook) -> None:
    """A page that is loaded while a call asks shows its card and buttons; Don't run runs nothing."""
    page, chat = opened(notebook)
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


def test_two_pages_that_approve_a_call_run_it_once(notebook: OpenNotebook) -> None:
    """Run is pressed in two pages at the same time: the call is executed once, and both show its result."""
    page = notebook([CHAT, "nbchat.ChatTabs()"])
    page.run_cell(0)
    second = notebook(name=page.path.removesuffix(".ipynb"))
    second.run_cell(1)  # a view of its own: a busy host may give up loading a saved one
    chat, other = Chat(page), Chat(second)
    expect(other.box).to_be_visible()
    chat.ask("Count.")
    for each in (chat, other):
        expect(card(each, "python wants to run")).to_be_visible()
    in_background = f"(card, name) => {{ void ({DECIDE})(card, name); }}"
    card(other, "python wants to run").evaluate(in_background, "Run")
    decide(card(chat, "python wants to run"), "Run")
    for each in (chat, other):
        expect(card(each, "python ran")).to_be_visible()
        expect(each.articles("Assistant")).to_contain_text("That was it.")
    assert chat.kernel("count") == "1"
    assert page.uncaught_errors + other.notebook.uncaught_errors == []


def test_stop_ends_a_call(notebook: OpenNotebook) -> None:
    """Stop ends a call that asks, which runs nothing, and one that runs, whose loop is interrupted."""
    page, chat = opened(notebook)
    chat.ask("What is six times seven?")
    expect(card(chat, "python wants to run")).to_be_visible()
    chat.button("Stop").click()
    stopped = card(chat, "python was not run")
    expect(stopped).to_be_visible()
    expect(stopped.get_by_role("button", name="Run", exact=True)).to_have_count(0)
    expect(chat.status).to_contain_text("stopped")
    assert chat.kernel("'answer' in globals()") == "False"

    chat.ask("Loop.")
    decide(card(chat, "python wants to run"), "Run")
    expect(card(chat, "python is running")).to_be_visible()
    wait_for((page.file.parent / "tools-loop-runs").exists, "the loop runs")
    chat.button("Stop").click()
    expect(card(chat, "python has an unknown outcome")).to_be_visible()
    expect(chat.status).to_contain_text("stopped")
    assert chat.kernel("1 + 1") == "2"  # the main thread is free
    screenshot(page, "stopped")
    assert page.uncaught_errors == []


def test_a_card_shows_what_look_sends_and_what_a_call_waits_for(notebook: OpenNotebook) -> None:
    """The card of `look` shows the text that is sent, and that of code that it waits for the running cell."""
    page = notebook([CHAT, "import os, time\nwhile not os.path.exists('tools-go'): time.sleep(0.02)"])
    page.run_cell(0)
    chat = Chat(page)
    chat.ask("Look.")
    asking = card(chat, "look wants to run")
    expect(asking.get_by_text("This would be sent:")).to_be_visible()
    preview = asking.locator("pre").nth(1).text_content()
    assert preview == chat.kernel("nbchat.describe(numbers)")
    screenshot(page, "look")
    decide(asking, "Run")
    ran = card(chat, "look ran")
    expect(ran.get_by_text("This would be sent:")).to_be_hidden()
    expect(ran.locator("details pre")).to_have_text(preview)
    expect(chat.articles("Assistant")).to_contain_text("That was it.")

    page.run_cell(1, wait=False)
    chat.ask("Count.")
    decide(card(chat, "python wants to run"), "Run")
    expect(card(chat, "python is waiting for the running cell")).to_be_visible()
    expect(chat.status).to_contain_text("waiting for the running cell")
    screenshot(page, "waits")
    (page.file.parent / "tools-go").touch()
    expect(card(chat, "python ran")).to_be_visible()
    expect(chat.articles("Assistant").last).to_contain_text("That was it.")
    assert chat.kernel("count") == "1"
    assert page.uncaught_errors == []


def test_all_calls_of_an_answer_are_approved_with_the_keyboard(notebook: OpenNotebook) -> None:
    """Keys reach "Run all in this answer", which also approves later calls of this answer, and no others."""
    page, chat = opened(notebook)
    keys = chat.page.keyboard

    def decide_by_key(button: str, call: Locator) -> None:
        expect(call.get_by_role("button", name=button, exact=True)).to_be_visible()
        expect(chat.box).to_be_focused()
        for _ in range(60):
            if chat.page.evaluate("document.activeElement.textContent") == button:
                break
            keys.press("Shift+Tab")
        id_ = call.get_attribute("data-call-id")
        state = f"document.querySelector('[data-call-id=\"{id_}\"]').dataset.callState"

        def pressed() -> bool:
            keys.press("Enter")
            return bool(chat.page.evaluate(f"{state} !== 'asking'"))

        wait_for(pressed, "a press is accepted")
        expect(chat.log.locator(f"[data-call-id='{id_}']")).to_be_focused()

    chat.ask("Rates?")
    asking = card(chat, "rate wants to run")
    expect(asking).to_have_count(2)
    decide_by_key("Run all in this answer", asking.last)
    expect(card(chat, "rate ran")).to_have_count(3)
    expect(chat.articles("Assistant").last).to_contain_text("That was it.")
    assert chat.kernel("sorted(rates)") == "['EUR', 'GBP', 'USD']"

    chat.box.focus()
    chat.ask("Count.")
    decide_by_key("Don't run", card(chat, "python wants to run"))
    expect(card(chat, "python was not run")).to_be_visible()
    assert chat.kernel("'count' in globals()") == "False"
    assert page.uncaught_errors == []


def test_hostile_calls_are_inert(notebook: OpenNotebook) -> None:
    """Names, arguments, code and results with markup are shown as text: nothing runs, nothing is loaded."""
    page, chat = opened(notebook)
    dialogs: list[str] = []
    chat.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    chat.ask("Hostile?")
    expect(chat.log.locator("[data-call-state=ran]")).to_have_count(16)
    expect(chat.log.locator("[data-call-state=not_run]")).to_have_count(16)
    asking = chat.log.locator("[data-call-state=asking]")
    expect(asking).to_have_count(16)
    for details in chat.log.locator("[data-call-id] details:not([hidden])").all():
        details.locator("summary").click()
    expect(asking.first.locator("pre code")).to_contain_text(HOSTILE[0])
    assert chat.log.evaluate(FOREIGN) == []
    assert dialogs == []
    assert page.foreign_requests == []
    screenshot(page, "hostile")
    chat.button("Stop").click()
    expect(chat.log.locator("[data-call-state=not_run]")).to_have_count(32)
    assert page.uncaught_errors == []


def test_cards_in_a_narrow_dark_chinese_page(notebook: OpenNotebook) -> None:
    """At 300 pixels, in the dark theme and in Chinese, cards fit, are accessible and can be used."""
    page, chat = opened(notebook, CHAT.replace("ChatTabs()", 'ChatTabs(locale="zh-CN")'))
    root = chat.page.locator(".nbchat")
    log = root.get_by_role("log")
    set_theme(chat.page, "JupyterLab Dark")
    chat.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    chat.page.set_viewport_size({"width": 410, "height": 800})
    chat.page.wait_for_function("document.querySelector('.nbchat').clientWidth <= 300")
    page.execute("session.send('What is six times seven?')")
    asking = log.get_by_role("group", name="python 请求运行", exact=True)
    expect(asking.get_by_role("button")).to_have_text(["运行", "运行此回答中的全部调用", "不运行"])
    expect(root.get_by_role("status").first).to_contain_text("等待你的批准")
    asking.scroll_into_view_if_needed()
    screenshot(page, "narrow-asking")
    assert violations(chat) == []
    assert sticks_out(root) == []
    decide(asking, "运行")
    ran = log.get_by_role("group", name="python 已运行", exact=True)
    expect(ran.get_by_role("img")).to_be_visible()
    ran.locator("summary").click()
    expect(ran.locator("details pre")).to_contain_text("the answer is 42")
    expect(log.get_by_role("article").last).to_contain_text("That was it.")
    ran.scroll_into_view_if_needed()
    screenshot(page, "narrow-ran")
    assert violations(chat) == []
    assert sticks_out(root) == []
    assert page.uncaught_errors == []


def test_tools_are_switched_off_and_on_in_the_page(notebook: OpenNotebook) -> None:
    """The menu Tools lists the session's tools; the model is not offered one that is switched off."""
    page, chat = opened(notebook)
    switch(chat, "python")
    wait_for(lambda: not is_on(chat, "python"), "the tool is off")
    assert "python" not in chat.kernel("session.tools")
    switch(chat, "python")
    wait_for(lambda: is_on(chat, "python"), "the tool is on")
    chat.ask("What is six times seven?")
    expect(card(chat, "python wants to run")).to_be_visible()
    assert page.uncaught_errors == []
