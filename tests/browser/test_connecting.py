"""The first screen, and connecting to a model from it."""

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook

CHAT = "import nbchat; chat = nbchat.ChatTabs(); chat"
SERVER = """
import asyncio, threading
from nbchat.server import DemoServer
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
server = DemoServer()
url = asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)
print(url, end="")
"""
KEY = "sk-typed-in-the-page-0123456789"


def test_an_empty_session_shows_how_to_begin(notebook: OpenNotebook) -> None:
    """An empty session shows a title and three questions that the demo answers, until one is asked."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    expect(chat.region.get_by_role("heading", name="Chat in this notebook")).to_be_visible()
    examples = chat.region.get_by_role("group", name="Example questions").get_by_role("button")
    expect(examples).to_have_count(3)
    examples.nth(0).click()
    expect(chat.box).to_have_value("What is nbchat?")
    chat.box.press("Enter")
    expect(chat.articles("Assistant")).to_contain_text("nbchat")
    expect(examples).to_have_count(0)
    assert page.uncaught_errors == []


@pytest.mark.parametrize("setting", ["", "nbchat.config(runner='local'); "], ids=["kernel", "runner"])
def test_a_server_is_connected_from_the_page(notebook: OpenNotebook, setting: str) -> None:
    """Models are listed, one is tested and answers; the key is in no file, trait or page text."""
    page = notebook([CHAT.replace("chat =", f"{setting}chat =")])
    page.run_cell(0)
    chat = Chat(page)
    url = page.execute(SERVER)
    chat.button("Connect a model").click()
    panel = page.page.get_by_role("dialog", name="Connect a model")
    panel.get_by_label("Server").select_option("Other")
    panel.get_by_label("Base URL").fill(url)
    panel.get_by_label("API key").fill(KEY)
    panel.get_by_role("button", name="List models").click()
    expect(panel.get_by_role("status")).to_contain_text("nbchat-tour")
    panel.get_by_label("Model", exact=True).fill("nbchat-echo")
    panel.get_by_role("button", name="Test").click()
    expect(panel.get_by_role("status")).to_contain_text("The model answered:")
    panel.get_by_text("The same in a cell").click()
    expect(panel.get_by_role("code")).to_contain_text("getpass")
    expect(panel.get_by_role("code")).not_to_contain_text(KEY)
    panel.get_by_label("API key").press("Enter")
    expect(panel).to_have_count(0)
    host = url.removeprefix("http://").removesuffix("/v1")
    expect(chat.region.get_by_text(f"Answers come from {host}.").first).to_be_visible()
    expect(chat.button("demo")).to_have_count(0)
    chat.ask("Repeat this.")
    expect(chat.articles("Assistant")).to_contain_text("Repeat this.")
    assert page.execute("print(nbchat.config()['base_url'], end='')") == url
    page.save()
    assert KEY not in page.file.read_text(encoding="utf-8")
    assert KEY not in page.evaluate("document.documentElement.outerHTML")
    states = page.execute(
        "from ipywidgets.widgets.widget import _instances\n"
        "print([widget.get_state() for widget in _instances.values()], end='')"
    )
    assert "ChatTabs" in states or "view_id" in states
    assert KEY not in states
    assert page.uncaught_errors == []
