"""The test harness itself, with a minimal widget."""

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import OpenNotebook, forget
from tests.browser.lab import App, Server

COUNTER = '''
import anywidget, traitlets

class Counter(anywidget.AnyWidget):
    """Counts in the kernel; the page asks by a message and shows the trait."""

    _esm = """export default { render({ model, el }) {
      const button = document.createElement("button");
      const show = () => { button.textContent = `count is ${model.get("count")}`; };
      button.onclick = () => model.send("more");
      model.on("change:count", show);
      show();
      el.append(button);
    } }"""
    count = traitlets.Int(0).tag(sync=True)

counter = Counter()
counter.on_msg(lambda widget, content, buffers: widget.set_trait("count", widget.count + 1))
counter
'''


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_a_click_reaches_the_kernel_and_comes_back(notebook: OpenNotebook, app: App) -> None:
    """A page on a real notebook runs cells, shows widgets, saves, and shows them again after a reload."""
    page = notebook([COUNTER, "print(counter.count)"], app=app)
    page.run_cell(0)
    button = page.output(0).get_by_role("button")
    expect(button).to_have_text("count is 0")
    button.click()
    expect(button).to_have_text("count is 1")

    page.run_cell(1)
    assert page.text(1) == "1\n"
    assert page.execute("print(counter.count + 1)") == "2\n"

    page.save()
    page.reload()
    expect(button).to_have_text("count is 1")
    assert page.foreign_requests == []


def test_the_network_can_be_cut_silenced_and_tampered_with(notebook: OpenNotebook) -> None:
    """Messages that the kernel sends while the page is disconnected do not arrive; later ones do."""
    page = notebook([COUNTER])
    page.run_cell(0)
    button = page.output(0).get_by_role("button")

    page.cut_network()
    page.restore_network()
    button.click()
    expect(button).to_have_text("count is 1")

    page.tamper("(event) => testNetwork.text(event).includes('comm_msg') ? [] : [event]")
    button.click()
    assert page.execute("print(counter.count)") == "2\n"
    expect(button).to_have_text("count is 1")

    page.restore_network()
    button.click()
    expect(button).to_have_text("count is 3")


def test_two_pages_share_a_kernel(notebook: OpenNotebook) -> None:
    """A second page on a notebook uses the same kernel."""
    first = notebook(["print('first')"])
    second = notebook(name=first.path.removesuffix(".ipynb"))
    assert second.kernel_id == first.kernel_id
    second.execute("shared = 6 * 7")
    assert first.execute("print(shared)") == "42\n"


def test_a_busy_kernel_can_be_interrupted_and_restarted(notebook: OpenNotebook) -> None:
    """A running cell is interrupted as by the button, and a restart clears all variables."""
    page = notebook(["import time; print('begun'); time.sleep(600)"])
    page.run_cell(0, wait=False)
    # The page shows a cell as running once it is requested; an earlier interrupt would have no effect.
    page.wait_until("panel.content.widgets[0].model.outputs.length > 0")
    page.interrupt_kernel()
    page.wait_until("panel.content.widgets[0].model.executionState === 'idle'")
    assert "KeyboardInterrupt" in page.text(0)

    page.restart_kernel()
    with pytest.raises(RuntimeError, match="NameError"):
        page.execute("print(time)")


def test_a_kernel_can_have_another_release_of_a_package(lab: Server, notebook: OpenNotebook) -> None:
    """A notebook's kernel can have an older ipykernel in an otherwise equal environment."""
    page = notebook(kernel=lab.add_kernel("ipykernel==7.3.0"))
    assert page.execute("import ipykernel; print(ipykernel.__version__)") == "7.3.0\n"


STORE = """async () => {
  localStorage.setItem("a", "1");
  document.cookie = "a=1";
  await caches.open("a");
  await new Promise((resolve) => { indexedDB.open("a").onsuccess = resolve; });
}"""

STORED = """async () => {
  const { state } = await navigator.permissions.query({ name: "notifications" });
  return [localStorage.length, document.cookie, await caches.keys(), await indexedDB.databases(), state];
}"""


def test_nothing_remains_in_the_profile_of_the_first_pages(profile: BrowserContext, lab: Server) -> None:
    """The first page of a test finds nothing that a page of an earlier test has stored."""
    for round_ in range(2):
        forget(profile, lab.url)
        page = profile.new_page()
        page.goto(f"{lab.url}/api")
        empty = page.evaluate(STORED)
        assert empty[:4] == [0, "", [], []]
        assert empty[4] != "granted"
        if round_ == 0:
            profile.grant_permissions(["notifications"])
            page.evaluate(STORE)
            assert page.evaluate(STORED) == [1, "a=1", ["a"], [{"name": "a", "version": 1}], "granted"]
        page.close()
