"""`chat.panel()` in a real JupyterLab: the view stands beside the notebook."""

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook

CELLS = [
    "import nbchat\nchat = nbchat.ChatTabs()\ngeo = chat.session('geo', model='nbchat-echo')\nchat.panel()",
    "chat.panel()",
    "1 + 1",
]


def test_a_panel_stands_beside_the_notebook(notebook: OpenNotebook) -> None:
    """The view fills a panel at the right, which survives a reload; closed, it opens at the next call."""
    page = notebook(CELLS)
    page.run_cell(0)
    panel = page.page.locator(".nbchat-dock")
    region = panel.get_by_role("region", name="Chat sessions")
    expect(region).to_be_visible()
    page.page.wait_for_function("document.querySelector('.nbchat-dock').offsetLeft > 100")
    box, view = panel.bounding_box(), region.bounding_box()
    cells = page.page.locator(".jp-Notebook").bounding_box()
    assert box is not None
    assert view is not None
    assert cells is not None
    assert box["x"] >= cells["x"] + cells["width"] - 1
    assert abs(view["height"] - box["height"]) < 2
    message = region.get_by_role("textbox", name="Message")
    message.fill("Which rivers cross Paris?")
    message.press("Enter")
    expect(region.get_by_role("log")).to_contain_text("Which rivers cross Paris?")

    page.save()
    page.reload()
    expect(region).to_be_visible()
    page.page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text="Chat").locator(
        ".lm-TabBar-tabCloseIcon"
    ).click()
    expect(panel).to_have_count(0)
    page.reload()
    page.run_cell(2)
    expect(panel).to_have_count(0)
    page.run_cell(1)
    expect(region).to_be_visible()
    assert page.uncaught_errors == []


def test_notebook_7_has_no_panel(notebook: OpenNotebook) -> None:
    """In Notebook 7 the call does nothing, and the notebook stays as it is."""
    page = notebook(CELLS, app="notebook")
    page.run_cell(0)
    page.run_cell(2)
    expect(page.page.locator(".nbchat-dock")).to_have_count(0)
    expect(page.page.locator(".jp-Notebook")).to_be_visible()
