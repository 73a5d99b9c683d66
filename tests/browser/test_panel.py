"""`chat.panel()` in a real JupyterLab: the view beside the notebook."""

from playwright.sync_api import expect

from tests.browser.conftest import OpenNotebook

CELLS = [
    "import nbchat\nchat = nbchat.ChatTabs()\ngeo = chat.session('geo', model='nbchat-echo')\nchat.panel()",
    "chat.panel()",
    "1 + 1",
]


def test_a_panel_stands_beside_the_notebook(notebook: OpenNotebook) -> None:
    """The view fills a panel at the right, which survives a reload; once closed, the next call opens it."""
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
    """In Notebook 7 the call has no effect, and the notebook stays as it is."""
    page = notebook(CELLS, app="notebook")
    page.run_cell(0)
    page.run_cell(2)
    expect(page.page.locator(".nbchat-dock")).to_have_count(0)
    expect(page.page.locator(".jp-Notebook")).to_be_visible()


SHOWN = [CELLS[0].replace("chat.panel()", "chat")]


def test_a_new_view_of_an_output_fills_its_panel(notebook: OpenNotebook) -> None:
    """In JupyterLab's "Create New View for Cell Output" the view is as high as the panel, at any size."""
    page = notebook(SHOWN)
    page.run_cell(0)
    expect(page.output(0).get_by_role("region", name="Chat sessions")).to_be_visible()
    page.output(0).click(button="right", position={"x": 3, "y": 3})
    page.page.get_by_role("menuitem", name="Create New View for Cell Output").click()
    panel = page.page.locator(".jp-LinkedOutputView")
    region = panel.get_by_role("region", name="Chat sessions")
    expect(region.get_by_role("textbox", name="Message")).to_be_in_viewport(ratio=1)
    fills = """() => {
        const panel = document.querySelector('.jp-LinkedOutputView').getBoundingClientRect();
        const view = document.querySelector('.jp-LinkedOutputView .nbchat-view').getBoundingClientRect();
        return Math.abs(panel.height - view.height) < 40 && view.bottom <= panel.bottom + 1;
    }"""
    page.page.wait_for_function(fills)
    page.page.set_viewport_size({"width": 900, "height": 700})
    page.page.wait_for_function(fills)
    expect(region.get_by_role("textbox", name="Message")).to_be_in_viewport(ratio=1)
    assert page.uncaught_errors == []


def test_the_menu_opens_the_view_beside_the_notebook(notebook: OpenNotebook) -> None:
    """The session menu offers the command of `chat.panel()`, except in the panel itself."""
    page = notebook(SHOWN)
    page.run_cell(0)
    view = page.output(0).get_by_role("region", name="Chat sessions")
    view.get_by_role("button", name="Session menu").click()
    page.page.get_by_role("menuitem", name="Open beside the notebook").click()
    docked = page.page.locator(".nbchat-dock").get_by_role("region", name="Chat sessions")
    expect(docked).to_be_visible()
    docked.get_by_role("button", name="Session menu").click()
    expect(page.page.get_by_role("menuitem", name="Rename")).to_be_visible()
    expect(page.page.get_by_role("menuitem", name="Open beside the notebook")).to_have_count(0)
    assert page.uncaught_errors == []


def test_a_view_that_is_not_in_the_file_hints_to_save(notebook: OpenNotebook) -> None:
    """A view with messages hints to save until the notebook is saved, and not after that or a reload."""
    page = notebook(SHOWN)
    page.run_cell(0)
    view = page.output(0).get_by_role("region", name="Chat sessions")
    hint = view.get_by_text("Save the notebook to keep this view")
    message = view.get_by_role("textbox", name="Message")
    expect(message).to_be_visible()
    expect(hint).to_be_hidden()
    message.fill("Which rivers cross Paris?")
    message.press("Enter")
    answer = view.get_by_role("article", name="Assistant")
    expect(answer).to_contain_text("Which rivers cross Paris?")
    expect(hint).to_be_visible()
    page.save()
    expect(hint).to_be_hidden()
    page.reload()
    expect(answer).to_contain_text("Which rivers cross Paris?")
    expect(hint).to_be_hidden()
    page.run_cell(0)
    expect(hint).to_be_visible()
    assert page.uncaught_errors == []
