"""Outputs of cells in a real JupyterLab: a comparison side by side, `%%chat`, and a batch's progress bar."""

from collections.abc import Sequence

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook

SETUP = "import nbchat\nimport os\nos.environ['NBCHAT_DEMO_PACE'] = '0.2'"


def test_a_comparison_stands_side_by_side(notebook: OpenNotebook) -> None:
    """Two sessions show their answers side by side, and a table follows below."""
    page = notebook(
        [
            SETUP,
            "both = nbchat.compare('Hello, both.', models=['nbchat-echo', 'nbchat-tour'])\nboth",
            "both.wait(60)",
        ]
    )
    page.run_cell(0)
    page.run_cell(1)
    logs = page.output(1).get_by_role("log")
    expect(logs).to_have_count(2)
    expect(logs.nth(0)).to_contain_text("Hello, both.")
    page.run_cell(2)
    rows = page.output(1).get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("completed")
    expect(rows.nth(2)).to_contain_text("completed")
    boxes = [logs.nth(at).bounding_box() for at in range(2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


def test_a_cell_that_is_the_message_shows_its_answer(notebook: OpenNotebook) -> None:
    """`%%chat` streams Markdown into the cell's output, where it is rendered and saved."""
    cells: Sequence[str] = [SETUP, "%load_ext nbchat", "%%chat -m nbchat-echo\nThis is **bold**."]
    page = notebook(cells)
    for index in range(3):
        page.run_cell(index)
    expect(page.output(2).locator("strong")).to_have_text("bold")


def test_a_batch_has_a_bar(notebook: OpenNotebook) -> None:
    """The bar fills, and shows the number of finished prompts."""
    page = notebook([SETUP, "nbchat.map(['a', 'b', 'c'], model='nbchat-echo')"])
    page.run_cell(0)
    page.run_cell(1)
    expect(page.output(1)).to_contain_text("3 of 3")
    expect(page.output(1)).to_contain_text("3 answered, 0 failed")
