"""Variables mentioned in the composer, in a real JupyterLab, through to the request at the server."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook
from tests.browser.test_sessions import answers, kernel_says, opened, region, tab

SETUP = r"""
import http.server, json, threading
import nbchat
import pandas as pd

df = pd.DataFrame({"km": [775, 813, 350], "owner": ["Lovelace 1", "Lovelace 2", "Lovelace 3"]})
dates = pd.date_range("2026-01-01", periods=3)
private = "ZERO-BYTES"
requests = []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        requests.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        event = {"choices": [{"index": 0, "delta": {"content": "Because."}, "finish_reason": "stop"}]}
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
nbchat.config(base_url=f"http://127.0.0.1:{server.server_port}/v1", model="m")
nbchat.session("A").model = "m"
"""

WAIT = "import pathlib, time\nwhile not pathlib.Path('stop').exists():\n    time.sleep(0.05)"

DESCRIBED = "Variable `df`:\n```\n{}\n```"


def test_nothing_of_a_variable_is_sent_that_is_not_named(notebook: OpenNotebook) -> None:
    """Without an `@`, the request has no byte of any variable."""
    page = opened(notebook, SETUP)
    page.run_cell(1)
    view = region(page)
    tab(page, "A").click()
    box = view.get_by_role("textbox", name="Message")
    box.fill("why is df so short?")
    box.press("Enter")
    expect(answers(page)).to_contain_text("Because.")  # an answer is shown before its request is sent
    everything = kernel_says(page, "requests")
    assert json.loads(kernel_says(page, "requests[-1]"))["messages"] == [
        {"role": "user", "content": "why is df so short?"}
    ]
    assert not any(word in everything for word in ("ZERO-BYTES", "Lovelace", "775", "DataFrame"))


def test_a_variable_is_chosen_previewed_and_sent_by_keyboard(notebook: OpenNotebook) -> None:
    """By keyboard, while a cell runs, a variable is completed, previewed, and sent as previewed."""
    page = opened(notebook, SETUP, WAIT)
    page.run_cell(1)
    view = region(page)
    tab(page, "A").click()
    box = view.get_by_role("textbox", name="Message")
    box.focus()
    keys = page.page.keyboard

    page.run_cell(2, wait=False)  # all steps below happen while a cell runs
    box.focus()
    keys.type("why is @d")
    listbox = page.page.get_by_role("listbox", name="Variables")
    expect(listbox.get_by_role("option")).to_have_text(
        ["dates, DatetimeIndex, 3", "df, DataFrame, 3 \N{MULTIPLICATION SIGN} 2"]
    )
    keys.press("ArrowDown")
    expect(listbox.get_by_role("option", selected=True)).to_have_text(
        "df, DataFrame, 3 \N{MULTIPLICATION SIGN} 2"
    )
    keys.press("Enter")
    expect(box).to_have_value("why is @df ")
    expect(box).to_be_focused()
    expect(listbox).to_be_hidden()
    chips = view.get_by_role("group", name="Attachments")
    expect(chips).to_contain_text("df· pandas DataFrame, 3 rows, 2 columns · about ")
    keys.type("so short?")
    preview = chips.get_by_role("button", name="Show what is sent of df")
    for _ in range(20):
        if preview.evaluate("button => button === document.activeElement"):
            break
        keys.press("Shift+Tab")
    keys.press("Enter")
    dialog = page.page.get_by_role("dialog", name="What is sent of df")
    expect(dialog).to_be_visible()
    previewed = dialog.locator("pre").text_content()
    keys.press("Escape")
    expect(preview).to_be_focused()
    box.focus()
    keys.press("Enter")
    expect(answers(page)).to_contain_text("Because.")
    expect(view.get_by_role("article", name="You").last.get_by_role("group")).to_contain_text("Variable df")

    page.file.with_name("stop").touch()
    content = json.loads(kernel_says(page, "requests[-1]"))["messages"][-1]["content"]
    assert content == "why is @df so short?\n\n" + DESCRIBED.format(previewed)
    assert previewed == kernel_says(page, "nbchat.describe(df)")
    assert "Lovelace" not in content
    assert "ZERO-BYTES" not in kernel_says(page, "requests")
    assert page.output(2).text_content() in (None, "")
    assert page.uncaught_errors == []


def test_errors_cells_and_escapes_are_sent_as_they_are_previewed(notebook: OpenNotebook) -> None:
    r"""`@error` and `@cell:4` are completed, previewed and sent; `\@df` is text and sends nothing of `df`."""
    page = opened(notebook, SETUP, "1 / 0", "print('printed', 6 * 7)")
    for index in (1, 2, 3):
        page.run_cell(index)
    tab(page, "A").click()
    box = region(page).get_by_role("textbox", name="Message")
    box.focus()
    keys = page.page.keyboard
    options = page.page.get_by_role("listbox", name="Variables").get_by_role("option")
    keys.type(r"\@df: why @err")
    expect(options).to_have_text(["error, ZeroDivisionError"])
    keys.press("Enter")
    keys.type("after @cell:")
    expect(options.filter(has_text="cell:4, print")).to_have_count(1)
    keys.type("4 ?")
    previewed = {}
    for name in ("error", "cell 4"):
        region(page).get_by_role("button", name=f"Show what is sent of {name}").click()
        dialog = page.page.get_by_role("dialog", name=f"What is sent of {name}")
        expect(dialog).to_be_visible()
        previewed[name] = dialog.locator("pre").text_content() or ""
        keys.press("Escape")
        expect(dialog).to_be_hidden()
    assert "ZeroDivisionError: division by zero" in previewed["error"]
    assert previewed["cell 4"] == "```python\nprint('printed', 6 * 7)\n```\n\nOutput:\n\n```\nprinted 42\n```"
    box.press("Enter")
    expect(answers(page)).to_contain_text("Because.")
    content = json.loads(kernel_says(page, "requests[-1]"))["messages"][-1]["content"]
    blocks = [f"Variable `{name}`:\n````\n{text}\n````" for name, text in previewed.items()]
    assert content == "\n\n".join(["@df: why @error after @cell:4 ?", *blocks])
    assert "Lovelace" not in kernel_says(page, "requests")
    assert page.uncaught_errors == []


def test_a_variable_that_changed_after_its_preview_is_shown_before_it_is_sent(notebook: OpenNotebook) -> None:
    """A changed variable is described again at Send, but a previewed text is never replaced unseen."""
    page = opened(notebook, SETUP, "df['added'] = 1", "del df['added']")
    page.run_cell(1)
    tab(page, "A").click()
    view = region(page)
    box = view.get_by_role("textbox", name="Message")
    chips = view.get_by_role("group", name="Attachments")
    box.press_sequentially("why @df now")
    expect(chips).to_contain_text("3 rows, 2 columns")
    page.run_cell(2)
    box.press("Enter")  # not previewed: described with its current value
    expect(answers(page)).to_contain_text("Because.")
    content = json.loads(kernel_says(page, "requests[-1]"))["messages"][-1]["content"]
    assert content == "why @df now\n\n" + DESCRIBED.format(kernel_says(page, "nbchat.describe(df)"))
    assert "added" in content

    box.press_sequentially("and @df now")
    expect(chips).to_contain_text("3 rows, 3 columns")
    chips.get_by_role("button", name="Show what is sent of df").click()
    dialog = page.page.get_by_role("dialog", name="What is sent of df")
    expect(dialog).to_be_visible()
    page.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.run_cell(3)
    box.press("Enter")
    expect(view.get_by_text("df changed after you looked at what is sent").first).to_be_visible()
    expect(chips).to_contain_text("3 rows, 2 columns")
    expect(box).to_have_value("and @df now")
    assert kernel_says(page, "len(requests)") == "1"
    box.press("Enter")
    expect(answers(page)).to_have_count(2)
    expect(answers(page).nth(1)).to_contain_text("Because.")
    content = json.loads(kernel_says(page, "requests[-1]"))["messages"][-1]["content"]
    assert content == "and @df now\n\n" + DESCRIBED.format(kernel_says(page, "nbchat.describe(df)"))
    assert "added" not in content
    assert page.uncaught_errors == []
