"""The view alone, in a real browser and without Jupyter: scrolling, selection, focus, keys, sizes.

The page is the development page of `js/dev`: the real store and view over a kernel inside the page.
"""

from __future__ import annotations

import mimetypes
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.chat import decide

ROOT = Path(__file__).parents[2]
HOST = "http://nbchat.invalid/"

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def development_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle the development page and return the folder it is in."""
    folder = tmp_path_factory.mktemp("view-page")
    node = shutil.which("node")
    assert node, "Node is needed to bundle the page; `make test` installs it"
    subprocess.run([node, str(ROOT / "js" / "dev" / "build.mjs"), str(folder)], check=True, timeout=60)
    return folder


@pytest.fixture
def view(chrome: Browser, development_page: Path) -> Iterator[OpenPage]:
    """Open the page; any error in it fails the test."""
    pages: list[Page] = []
    errors: list[str] = []
    asked: list[str] = []

    def serve(route: Route) -> None:
        path = route.request.url.removeprefix(HOST).split("?")[0] or "index.html"
        if not route.request.url.startswith(HOST) or not (development_page / path).is_file():
            asked.append(route.request.url)
            route.abort()
            return
        route.fulfill(
            path=development_page / path,
            content_type=mimetypes.guess_type(path)[0] or "text/plain",
        )

    def open_page(query: str = "scene=idle", *, width: int = 900, height: int = 640, **settings: Any) -> Page:
        page = chrome.new_page(viewport={"width": width, "height": height}, **settings)
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route("**", serve)
        page.goto(f"{HOST}?{query}")
        expect(page.get_by_role("region", name="Chat sessions")).to_be_visible()
        return page

    yield open_page
    for page in pages:
        page.close()
    assert errors == []
    assert [url for url in asked if not url.endswith("favicon.ico")] == []


def distance_to_end(log: Locator) -> float:
    """Return how many pixels the log can still be scrolled down."""
    return float(log.evaluate("log => log.scrollHeight - log.clientHeight - log.scrollTop"))


def place_of(element: Locator) -> float:
    """Return an element's position on the screen."""
    box = element.bounding_box()
    assert box
    return box["y"]


OUTPUTS = {
    "JupyterLab": """<div class="jp-OutputArea-child">%s</div>
      <div class="jp-OutputArea-child" id="place"></div>""",
    "nbclassic": '<div class="output_area">%s</div><div class="output_area" id="place"></div>',
    "VS Code": """<div class="cell_container">
      <div class="output_container"><div class="output">%s</div></div>
      <div class="output_container"><div class="output" id="place"></div></div>
    </div>""",
}
"""By host: the elements around the two outputs of a view's cell."""
TRANSCRIPT = '<a href="#nbchat-transcript"></a><p>You: Which river?</p>'


@pytest.mark.parametrize("host", OUTPUTS)
def test_the_transcript_is_hidden_beside_a_live_view(view: OpenPage, host: str) -> None:
    """In each host that draws both outputs, the transcript is hidden once a kernel has answered the view."""
    page = view()
    outputs = OUTPUTS[host] % TRANSCRIPT
    page.evaluate("(outputs) => document.body.insertAdjacentHTML('afterbegin', outputs)", outputs)
    transcript = page.get_by_text("You: Which river?")
    expect(transcript).to_be_visible()
    page.locator("#place").evaluate("(place) => place.append(document.querySelector('.nbchat'))")
    expect(page.locator("#place .nbchat")).to_be_visible()
    expect(transcript).to_be_hidden()


def test_the_log_follows_the_end_until_the_reader_leaves_it(view: OpenPage) -> None:
    """New text does not move text that is being read, and "Jump to latest" follows the log again."""
    page = view("scene=stream")
    log = page.get_by_role("log")
    answer = page.get_by_role("article").last
    expect(answer).to_contain_text("1912")
    assert distance_to_end(log) < 2

    log.hover()
    page.mouse.wheel(0, -120)
    jump = page.get_by_role("button", name="Jump to latest")
    expect(jump).to_be_visible()
    question = page.get_by_role("article").nth(2)
    before, length = place_of(question), len(answer.inner_text())
    page.wait_for_function(
        "([answer, length]) => answer.innerText.length > length + 200", arg=[answer.element_handle(), length]
    )
    assert place_of(question) == pytest.approx(before, abs=1)

    jump.click()
    expect(jump).to_be_hidden()
    length = len(answer.inner_text())
    page.wait_for_function(
        "([answer, length]) => answer.innerText.length > length + 200", arg=[answer.element_handle(), length]
    )
    assert distance_to_end(log) < 30


def test_a_selection_is_kept_while_text_arrives(view: OpenPage) -> None:
    """Text can be selected and copied in the middle of a streaming answer."""
    page = view("scene=stream")
    answer = page.get_by_role("article").last
    expect(answer.get_by_role("listitem").first).to_contain_text("from east to west")
    answer.get_by_role("listitem").first.evaluate(
        """item => { const range = document.createRange(); range.selectNodeContents(item);
            getSelection().removeAllRanges(); getSelection().addRange(range); }"""
    )
    length = len(answer.inner_text())
    page.wait_for_function(
        "([answer, length]) => answer.innerText.length > length + 300", arg=[answer.element_handle(), length]
    )
    assert page.evaluate("getSelection().toString()").strip() == "the Seine, from east to west"


def test_earlier_messages_come_in_above_without_moving_the_reader(view: OpenPage) -> None:
    """Only some of 800 messages have elements; more load on demand, and the position is kept."""
    page = view("scene=idle&active=long")
    articles = page.get_by_role("article")
    expect(articles).to_have_count(52)
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    assert distance_to_end(page.get_by_role("log")) < 2

    page.get_by_role("log").evaluate("log => { log.scrollTop = 600 }")
    expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
    reading = page.locator("article", has_text="Answer 375.")
    reading.evaluate("article => article.scrollIntoView({ block: 'start' })")
    before = place_of(reading)
    page.evaluate("document.querySelector('[data-act=earlier]').click()")
    expect(articles).to_have_count(102)
    assert place_of(reading) == pytest.approx(before, abs=2)


def test_a_reader_comes_back_to_the_same_place(view: OpenPage) -> None:
    """Showing another session and returning keeps the scroll position and the text."""
    page = view("scene=idle&active=long")
    expect(page.get_by_role("article")).to_have_count(52)
    reading = page.locator("article", has_text="Answer 380.")
    page.get_by_role("log").evaluate("log => { log.scrollTop = 400 }")
    reading.evaluate("article => article.scrollIntoView({ block: 'start' })")
    expect(page.get_by_role("button", name="Jump to latest")).to_be_visible()
    before = place_of(reading)
    page.get_by_role("tab", name="Rivers of Paris").click()
    expect(reading).to_have_count(0)
    page.get_by_role("tab", name="A very long title").click()
    assert place_of(reading) == pytest.approx(before, abs=4)


def test_everything_is_reached_and_done_by_keyboard(view: OpenPage) -> None:
    """Tabs, menu, composer and the choices of a message need no pointer, and the focus is visible."""
    page = view("scene=interrupted")
    page.get_by_role("tab", name="Rivers of Paris").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="A parser in Python")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+F10")
    expect(page.get_by_role("menuitem", name="Rename")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("Rivers")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Rivers, failed")).to_be_focused()
    page.get_by_role("button", name="Keep").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep")).to_have_count(0)
    page.get_by_role("button", name="All sessions").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("chem")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Chemistry, failed")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("textbox", name="Message")).to_be_focused()


def test_escape_closes_popups_and_restores_the_focus(view: OpenPage) -> None:
    """Escape closes a menu, the list or the settings, and does not also stop a run."""
    page = view("scene=stream")
    for opener in ("Session menu", "All sessions", "Model: demo-tour"):
        page.get_by_role("button", name=opener).click()
        floating = page.locator(".nbchat-popup")
        expect(floating).to_be_visible()
        page.keyboard.press("Escape")
        expect(floating).to_have_count(0)
        expect(page.get_by_role("button", name=opener)).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("answering")


SCENES = ("stream", "queue", "interrupted", "failed", "retrying", "paused", "tools")

AXE = ROOT / "js" / "node_modules" / "axe-core" / "axe.min.js"

FIND = """async (rules) => {
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = await axe.run(document.querySelector(".nbchat"), { runOnly: tags, rules });
  return violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
}"""


OPENED: Mapping[str, str] = {
    "queue": "Session menu",
    "interrupted": "Details",
    "failed": "All sessions",
    "retrying": "Model: demo-tour",
}
"""The button that opens a menu or dialog in each scene."""


@pytest.mark.parametrize(
    ("theme", "scenes"), [("light", SCENES), ("dark", ("stream", "interrupted", "failed", "tools"))]
)
def test_axe_finds_nothing(view: OpenPage, theme: str, scenes: Sequence[str]) -> None:
    """No violation of WCAG 2.2 A and AA or of axe's best practices, also with a menu or dialog open."""
    for scene in scenes:
        page = view(f"scene={scene}&theme={theme}")
        if scene in OPENED:
            page.get_by_role("button", name=OPENED[scene]).last.click()
        page.add_script_tag(path=AXE)
        assert page.evaluate(FIND, {}) == [], scene


WAYS_TO_LOOK: Mapping[str, Mapping[str, Any]] = {
    "forced colours": {"forced_colors": "active"},
    "forced colours, dark": {"forced_colors": "active", "color_scheme": "dark"},
    "more contrast": {"contrast": "more"},
    "200 percent": {"width": 450, "height": 320, "device_scale_factor": 2},
    "320 pixels": {"width": 320},
}


@pytest.mark.parametrize("way", WAYS_TO_LOOK)
def test_axe_finds_nothing_however_one_looks(view: OpenPage, way: str) -> None:
    """In high contrast, at twice the size and at 320 pixels there is no violation and no overflow."""
    settings = WAYS_TO_LOOK[way]
    # axe reads the computed colours, not those that the user's forced colours give.
    rules = {"color-contrast": {"enabled": "forced_colors" not in settings}}
    for scene in ("queue", "interrupted", "failed"):
        page = view(f"scene={scene}", **settings)
        page.get_by_role("button", name=OPENED[scene]).last.click()
        page.add_script_tag(path=AXE)
        assert page.evaluate(FIND, rules) == [], scene
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("scene", SCENES)
def test_nothing_is_cut_off_in_a_narrow_page(view: OpenPage, scene: str) -> None:
    """At 320 pixels nothing overflows sideways, and all buttons are large enough to press."""
    page = view(f"scene={scene}", width=320)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    small = page.evaluate(
        """Array.from(document.querySelectorAll('.nbchat button'), b => [b, b.getBoundingClientRect()])
            .filter(([, r]) => r.width > 0 && (r.width < 24 || r.height < 24 || r.right > 320.5))
            .map(([b]) => b.outerHTML)"""
    )
    assert small == []


def test_a_call_is_shown_whole_above_its_buttons(view: OpenPage) -> None:
    """Nothing of the arguments of a call that asks is scrolled away, at 320 pixels too; Run runs them."""
    page = view("scene=tools", width=320)
    for name in ("python", "delete_files"):
        card = page.get_by_role("group", name=f"{name} wants to run")
        button = card.get_by_role("button", name="Run", exact=True)
        expect(button).to_be_visible()
        assert card.locator("pre").first.evaluate(
            "(pre, button) => pre.scrollWidth <= pre.clientWidth && pre.scrollHeight <= pre.clientHeight"
            " && pre.getBoundingClientRect().bottom <= button.getBoundingClientRect().top",
            button.element_handle(),
        )
    expect(page.get_by_role("status").first).to_contain_text("waiting for your approval")
    decide(page.get_by_role("group", name="python wants to run"), "Run")
    expect(page.get_by_role("group", name="python is running")).to_be_visible()
    expect(page.get_by_role("group", name="delete_files wants to run")).to_be_visible()


def test_images_and_files_are_attached_and_can_be_removed(view: OpenPage) -> None:
    """Files are shown before they are sent; anything but text and images is rejected with a reason."""
    page = view("scene=idle")
    page.get_by_role("textbox", name="Message").evaluate(
        """box => { const data = new DataTransfer();
            data.items.add(new File([new Uint8Array([137, 80])], 'plot.png', { type: 'image/png' }));
            box.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true })); }"""
    )
    attached = page.get_by_role("group", name="Attachments")
    expect(attached).to_contain_text("plot.png")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.get_by_role("button", name="Remove plot.png").click()
    expect(attached).to_be_hidden()
    page.locator("input[type=file]").set_input_files(
        {"name": "a.bin", "mimeType": "application/octet-stream", "buffer": b"\0\1\2"}
    )
    expect(page.get_by_role("paragraph").filter(has_text="only text, PNG, JPEG, GIF or WebP")).to_be_visible()
    page.locator("input[type=file]").set_input_files(
        {"name": "a.py", "mimeType": "text/x-python", "buffer": b"print('```')\n"}
    )
    expect(attached).to_contain_text("a.py")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("list", name="Queued questions")).to_contain_text("[a.py]")


def test_switching_to_a_long_session_draws_a_screenful(view: OpenPage) -> None:
    """Few of 800 messages have elements at the first paint, and there are never more than 3,000 elements."""
    page = view("scene=idle")
    at_once = page.evaluate(
        """() => { document.querySelector(`[data-session-id="${window.long}"]`).click();
            const log = document.querySelector('[role=log]');
            return { articles: log.querySelectorAll('article').length,
                     elements: document.querySelectorAll('*').length,
                     filled: log.scrollHeight >= log.clientHeight,
                     end: Math.abs(log.scrollHeight - log.clientHeight - log.scrollTop) < 2 }; }"""
    )
    assert at_once["filled"]
    assert at_once["end"]
    assert at_once["articles"] <= 16
    assert at_once["elements"] <= 3000
    page.wait_for_function("document.querySelectorAll('[role=log] article').length >= 50")
    assert page.evaluate("document.querySelectorAll('*').length") <= 3000


TARGETS = """() => {
    const small = [];
    const controls = [
        "button", "summary", "textarea", "input", ".nbchat-tab-close",
        "[role=tab]", "[role=menuitem]", "[role=menuitemcheckbox]",
    ];
    for (const control of document.querySelectorAll(`.nbchat-view :is(${controls})`)) {
        if (!control.checkVisibility({ visibilityProperty: true })) continue;
        if (control.matches("[type=file]")) continue;
        control.scrollIntoView({ block: "center", inline: "center" });
        const box = control.getBoundingClientRect();
        const name = `${control.localName}.${control.className} ${control.textContent.slice(0, 20)}`;
        if (control.matches(".nbc-noteref, .nbc-noteback")) {
            // The line stays as it is; the target is larger than what is drawn.
            const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
            for (const [dx, dy] of [[0, -19], [0, 19], [-19, 0], [19, 0]])
                if (!control.contains(document.elementFromPoint(x + dx, y + dy)))
                    small.push(`${name} ${dx} ${dy}`);
        } else if (box.width < 39.5 || box.height < 39.5) small.push(`${name} ${box.width} x ${box.height}`);
        if (control.matches("textarea, input") && parseFloat(getComputedStyle(control).fontSize) < 16)
            small.push(`${name} has small letters`);
    }
    return small;
}"""
"""Controls that are too small for a finger, and fields into which a phone would zoom."""


@pytest.mark.parametrize("scene", ["idle", "stream", "interrupted", "queue", "tools"])
@pytest.mark.parametrize("size", [(390, 844), (900, 640)], ids=["phone", "tablet"])
def test_fingers_find_every_control(view: OpenPage, scene: str, size: tuple[int, int]) -> None:
    """On a touch screen every target has 40 pixels, and fields have a font of 16 pixels."""
    page = view(f"scene={scene}", width=size[0], height=size[1], has_touch=True, is_mobile=True)
    expect(page.get_by_role("article").last).to_be_visible()
    assert page.evaluate("matchMedia('(pointer: coarse)').matches")
    assert page.evaluate(TARGETS) == []
    page.get_by_role("button", name="Session menu").first.tap()
    expect(page.get_by_role("menuitem").first).to_be_visible()
    assert page.evaluate(TARGETS) == []
