"""Files that a user adds to a question, in a real JupyterLab."""

from __future__ import annotations

import zlib

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook
from tests.browser.test_sessions import answers, kernel_says, opened, region, tab

ROWS = "".join(f"{number},{number * number % 1_000_003},Seine ✓\n" for number in range(250_000))
"""A table of about 5 MB: ten parts on the wire, and too long for a single WebSocket message."""

TALLY = """
import zlib, nbchat
part = nbchat.session("A").messages[0].parts[1]
print(part.name, len(part.text), zlib.crc32(part.text.encode()))
"""


def test_a_large_file_goes_with_its_question(notebook: OpenNotebook) -> None:
    """The file is shown as a chip, arrives complete, is collapsed in the log, and survives a reload."""
    page = opened(notebook)
    page.execute("import nbchat; nbchat.session('A').model = 'nbchat-tour'")
    view = region(page)
    tab(page, "A").click()
    view.locator("input[type=file]").set_input_files(
        {"name": "rivers.csv", "mimeType": "text/csv", "buffer": ROWS.encode()}
    )
    expect(view.get_by_role("group", name="Attachments")).to_contain_text("rivers.csv")
    box = view.get_by_role("textbox", name="Message")
    expect(box).to_have_value("")
    box.fill("What is in it?")
    box.press("Enter")
    expect(view.get_by_text("Send again to send it anyway.").first).to_be_visible()
    box.press("Enter")
    expect(answers(page)).to_be_visible()
    expect(view.get_by_role("group", name="Attachments")).to_be_hidden()
    assert page.execute(TALLY).split() == ["rivers.csv", str(len(ROWS)), str(zlib.crc32(ROWS.encode()))]

    question = view.get_by_role("article", name="You")
    for _ in range(2):
        card = question.get_by_role("group")
        expect(card).to_contain_text("rivers.csv")
        card.get_by_text("rivers.csv").click()
        expect(card.get_by_role("button", name="Show all")).to_be_visible()
        expect(card).to_contain_text("1,1,Seine ✓")
        page.save()
        page.reload()
    assert kernel_says(page, "len(nbchat.session('A').runs)") == "1"
    assert page.uncaught_errors == []
