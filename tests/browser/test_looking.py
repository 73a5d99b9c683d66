"""Display and input settings in a real JupyterLab: themes, contrast, sizes, Chinese, keyboard only."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.chat import Chat, set_theme, sticks_out, violations
from tests.browser.conftest import OpenNotebook

ANSWER = r"""
# Rivers[^1]

| river | km |
| ----- | -: |
| Seine | 775 |

- [x] read **it**

```python
def length(river: str = "Seine") -> int:  # km
    return 775
```

$Q = v \cdot A$ and [a list](https://rivers.example/list).

[^1]: Of Paris.
"""

CHAT = f"""
import nbchat
from nbchat.providers.base import ReasoningDelta
from nbchat.providers.scripted import PAUSE, ScriptedProvider
chat = nbchat.ChatTabs()
chat.session("fails", provider=ScriptedProvider(OSError("no such place")))
chat.session("rivers", provider=ScriptedProvider(ReasoningDelta("Which are there?"), {ANSWER!r}))
chat.session("waits", provider=ScriptedProvider("So ", "far.", PAUSE, " Done."))
chat
"""

THEMES = ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast")


def test_axe_finds_nothing_in_jupyterlab(notebook: OpenNotebook) -> None:
    """No violation of WCAG 2.2 A and AA in any theme, with more contrast, forced colours, large or narrow."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    for title, question in (("fails", "Where?"), ("waits", "Go on."), ("rivers", "Which rivers?")):
        chat.tab(title).click()
        chat.ask(question)
        expect(chat.articles("You")).to_contain_text(question)
    expect(chat.status).to_contain_text("done")
    for theme in THEMES:
        set_theme(chat.page, theme)
        for title in ("fails", "waits", "rivers"):
            chat.tab(title).click()
            assert violations(chat) == [], (theme, title)
    set_theme(chat.page, THEMES[0])
    chat.page.emulate_media(contrast="more")
    assert violations(chat) == []
    chat.page.emulate_media(contrast="no-preference", forced_colors="active", reduced_motion="reduce")
    # axe reads the computed colours, not those that the user's forced colours give.
    assert violations(chat, {"color-contrast": {"enabled": False}}) == []
    moving = chat.region.evaluate(
        "root => root.getAnimations({ subtree: true }).filter((a) => a.playState === 'running').length"
    )
    assert moving == 0
    chat.page.emulate_media(forced_colors="none")
    chat.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
    for width, height in ((640, 450), (430, 700)):  # 1280 x 900 at 200 %, and a narrow column
        chat.page.set_viewport_size({"width": width, "height": height})
        chat.page.wait_for_function(
            "most => document.querySelector('.nbchat').clientWidth <= most",
            arg=320 if width == 430 else width,
        )
        for title in ("fails", "waits", "rivers"):
            chat.tab(title).click()
            assert violations(chat) == [], (width, title)
            assert sticks_out(chat.region) == [], (width, title)
    assert page.uncaught_errors == []


def test_the_keyboard_is_enough(notebook: OpenNotebook) -> None:
    """Keys reach the chat, its question, tabs and menu, and leave it again; no cell is changed."""
    page = notebook([CHAT, "1 + 1"])
    page.run_cell(0)
    chat = Chat(page)
    expect(chat.tabs).to_have_count(3)
    keys = chat.page.keyboard
    inside = "!!document.activeElement.closest('.nbchat')"

    def press_until(key: str, condition: str) -> None:
        for _ in range(60):
            if chat.page.evaluate(condition):
                return
            keys.press(key)
        message = f"{condition} never came by {key}"
        raise AssertionError(message)

    page.evaluate(
        "(panel.content.mode = 'command', panel.content.activeCellIndex = 0, panel.content.activate())"
    )
    press_until("Tab", inside)
    press_until("Tab", "document.activeElement.getAttribute('role') === 'tab'")
    keys.press("Home")
    expect(chat.tab("fails")).to_be_focused()
    expect(chat.tab("fails")).to_have_attribute("aria-selected", "true")
    keys.press("ArrowRight")
    expect(chat.tab("rivers")).to_have_attribute("aria-selected", "true")
    press_until("Tab", "document.activeElement.matches('textarea')")
    keys.type("add xx yy?")  # in the notebook's command mode these letters change cells
    keys.press("Enter")
    expect(chat.articles("You")).to_contain_text("add xx yy?")
    expect(chat.status).to_contain_text("done")
    expect(chat.box).to_be_focused()
    press_until("Shift+Tab", "document.activeElement.getAttribute('role') === 'tab'")
    keys.press("Shift+F10")
    expect(chat.page.get_by_role("menu")).to_be_visible()
    keys.press("Escape")
    expect(chat.tab("rivers")).to_be_focused()
    press_until("Tab", f"!({inside}) && document.activeElement !== document.body")
    assert page.evaluate("panel.content.widgets.length") == 2
    assert page.uncaught_errors == []


def test_the_page_in_chinese(notebook: OpenNotebook) -> None:
    """With `locale="zh-CN"` the widget is in Chinese, and declares that language to screen readers."""
    page = notebook([CHAT.replace("ChatTabs()", 'ChatTabs(locale="zh-CN")')])
    page.run_cell(0)
    root = page.page.locator(".nbchat[lang='zh-CN']")
    expect(root.get_by_role("button", name="发送")).to_be_visible()
    words: list[str] = root.evaluate("""root => [...root.querySelectorAll("button, textarea, [role=log]")]
      .filter((e) => e.checkVisibility())
      .map((e) => e.getAttribute("aria-label") || e.placeholder || e.textContent)
      .filter((text) => text && !/[\\u4e00-\\u9fff]/.test(text))""")
    assert words == []
