"""The Markdown renderer in a real browser: examples, hostile texts, and user actions during streaming."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from tools import bundle

SPEC = Path(__file__).parents[2] / "js/node_modules/commonmark-spec/spec.txt"
CSS = Path(__file__).parents[2] / "js/src/view/markdown.css"
ORIGIN = "http://page.test"
SOAK = "NBCHAT_SOAK" in os.environ


@pytest.fixture(scope="module")
def script() -> str:
    """Bundle the renderer and its test texts once."""
    return bundle.script("tests/browser-page.ts")


@pytest.fixture
def requests() -> list[str]:
    """Hold the address of every request that the page makes."""
    return []


@pytest.fixture
def page(chrome: Browser, script: str, requests: list[str]) -> Iterator[Page]:
    """Give a blank page with the renderer, in which every request is recorded and blocked."""
    context = chrome.new_context()

    def answer(route: Route) -> None:
        requests.append(route.request.url)
        if route.request.url == f"{ORIGIN}/":
            route.fulfill(content_type="text/html", body="<!doctype html><title>page</title><body></body>")
        else:
            route.abort()

    context.route("**/*", answer)
    page = context.new_page()
    page.goto(f"{ORIGIN}/")
    page.add_script_tag(content=script)
    yield page
    context.close()


def examples() -> list[str]:
    """Return the Markdown of CommonMark's examples."""
    found = re.findall(r"^`{32} example\n(.*?)^\.\n.*?^`{32}$", SPEC.read_text(), re.DOTALL | re.MULTILINE)
    return [text.replace("→", "\t") for text in found]


def test_streamed_in_any_pieces_is_whole(page: Page) -> None:
    """Each of CommonMark's examples, and all as one text, render the same however the stream is split."""
    texts = examples()
    assert len(texts) == 652
    for size in (1, 3, 10):
        assert page.evaluate("([t, n]) => nbchat.different(t, n)", [texts, size]) == []
    together = ["\n\n".join(texts)]
    for size in (1, 7, 64, 1000):
        assert page.evaluate("([t, n]) => nbchat.different(t, n)", [together, size]) == []


def test_no_text_depends_on_where_it_was_cut(page: Page) -> None:
    """Texts of random marks render the same when streamed by character, by three characters, and at once."""
    texts = page.evaluate("([n, s]) => nbchat.soup(n, s)", [20_000 if SOAK else 600, 7])
    for size in (1, 3):
        assert page.evaluate("([t, n]) => nbchat.different(t, n)", [texts, size]) == []


def test_text_added_without_parsing_equals_a_parse(page: Page) -> None:
    """At every character of every example, the page equals a full parse of the text so far."""
    different = page.evaluate("(texts) => nbchat.differentOnTheWay(texts)", examples())
    # A line of marks in an open fence may be its end, so it is not shown until that is certain.
    assert [text for text in different if not re.search(r"^ *(`+|~+) *\Z", text, re.MULTILINE)] == []


@pytest.mark.parametrize("in_shadow", [False, True], ids=["document", "shadow"])
def test_hostile_texts_do_nothing(page: Page, requests: list[str], in_shadow: bool) -> None:
    """At any prefix of any text no script runs, no request is made, and no forbidden element is present."""
    called: list[str] = []
    page.expose_function("pwned", lambda: called.append("pwned"))
    page.on("dialog", lambda dialog: called.append(dialog.message))
    page.on("popup", lambda popup: called.append(popup.url))
    loaded = list(requests)
    payloads: list[dict[str, Any]] = page.evaluate("nbchat.hostile")
    for payload in payloads:
        found = page.evaluate("([p, s]) => nbchat.attack(p, s)", [payload, in_shadow])
        assert found == [], f"{payload['kind']}: {payload['text'][:200]!r}"
    assert called == []
    assert requests == loaded
    assert page.evaluate("Object.keys(Object.prototype)") == []
    assert page.url == f"{ORIGIN}/"


def test_an_image_is_loaded_after_a_click(page: Page, requests: list[str]) -> None:
    """An image of another host is requested once, and only after its button is pressed."""
    page.evaluate(
        "() => new nbchat.MarkdownView(document.body).reset('![plot](https://images.test/p.png)', true)"
    )
    assert not any("images.test" in url for url in requests)
    with page.expect_request("https://images.test/p.png") as asked:
        page.get_by_role("button", name="Load image from images.test").click()
    assert "referer" not in asked.value.headers
    assert page.get_by_role("img", name="plot").count() == 1


def test_what_is_selected_stays_selected(page: Page) -> None:
    """A selection across an open and a closed paragraph is kept while much more text arrives."""
    page.evaluate(
        """() => {
          globalThis.view = new nbchat.MarkdownView(document.body);
          view.append('First *paragraph* here.\\n\\nSecond one is op');
          const [first, second] = document.querySelectorAll('p');
          getSelection().setBaseAndExtent(first.firstChild, 0, second.firstChild, 10);
        }"""
    )
    selected = page.evaluate("getSelection().toString()")
    assert selected == "First paragraph here.\n\nSecond one"
    page.evaluate(
        """() => {
          const more = 'en and **grows** [x](https://a.test)\\n\\n- list\\n\\n```py\\nx = 1\\n```\\n';
          for (const character of more) view.append(character);
          view.end();
        }"""
    )
    assert page.evaluate("getSelection().toString()") == selected


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        "![" * 25_000,
        "*a " * 16_000,
        "*a " * 8_000 + "b* " * 8_000,
        ">" * 50_000,
        "- a\n" * 12_000,
        "- " * 25_000,
        "`" * 50_000,
        "&" * 50_000,
        "<a " * 16_000,
        "$a " * 16_000,
        "\\(" * 25_000,
        "|a|b|\n|-|-|\n" + "|x\n" * 16_000,
        "[a](" * 12_000,
        "a " * 25_000,
        "http://" * 7_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_no_text_keeps_the_page_busy(page: Page, text: str) -> None:
    """Streamed in 500 pieces, 50 KB of any mark take no more than a moment for each piece."""
    # The promise is 50 ms on a desktop. Machines that run tests are slower, and busy with other tests.
    assert page.evaluate("(t) => nbchat.longestPiece(t, 500, 2)", text) < 1000


def test_bullets_and_bars_follow_the_direction_of_the_text(page: Page) -> None:
    """A list or quote in Hebrew or Arabic has bullets and bar on the right, one in English on the left."""
    page.add_style_tag(path=CSS)
    sides = """(text) => {
        const root = document.body.appendChild(document.createElement("div"));
        root.className = "nbchat-markdown";
        const view = new nbchat.MarkdownView(root, {});
        for (const character of text) view.append(character);
        view.end();
        return Array.from(root.querySelectorAll("ul, ol, blockquote"), (one) => {
            const { direction, paddingLeft, paddingRight } = getComputedStyle(one);
            const item = one.querySelector("li") ?? one;
            const side = parseFloat(paddingLeft) > parseFloat(paddingRight) ? "left" : "right";
            return `${one.localName} ${side} ${direction} ${getComputedStyle(item).direction}`;
        });
    }"""
    for text, side in (
        ("- שלום\n- עולם\n\n1. مرحبا\n\n> مرحبا", "right rtl rtl"),
        ("- one\n- two\n\n1. three\n\n> four", "left ltr ltr"),
    ):
        assert page.evaluate(sides, text) == [f"{tag} {side}" for tag in ("ul", "ol", "blockquote")]
