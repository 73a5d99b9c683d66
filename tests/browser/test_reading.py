"""Reading in a real JupyterLab: rendered answers, their details, and the scroll position."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import OpenNotebook

ANSWER = r"""
# Rivers

Paris lies on the **Seine**[^1], see [the list](https://rivers.example/list).

| river | km |
| ----- | -: |
| Seine | 775 |

- [x] read
- [ ] swim

```python
def length(river: str) -> int:
    return {"Seine": 775}[river]
```

Its mean flow is $Q = v \cdot A$, and

$$\int_0^T Q\,dt$$

```mermaid
graph TD; Source --> Sea
```

![a map](https://maps.example/seine.png) <b onclick="alert(1)">no markup</b>

[^1]: 775 km long.
"""

CHAT = f"""
import nbchat
from nbchat.providers.base import ReasoningDelta, ToolCallDelta, UsageDelta
from nbchat.providers.scripted import PAUSE, ScriptedProvider
model = ScriptedProvider(
    ReasoningDelta("Which rivers are there?"),
    ToolCallDelta(0, id="call_1", name="look_up", arguments='{{"city": "Paris"}}'),
    {ANSWER!r},
    UsageDelta(nbchat.Usage(input_tokens=12, output_tokens=345)),
)
slow = ScriptedProvider(*(f"Paragraph {{i}}.\\n\\n" for i in range(60)), PAUSE, "And *more*.\\n\\n" * 30)
chat = nbchat.ChatTabs()
chat.session("slow", provider=slow)
chat.session("rivers", provider=model)
chat
"""


def test_an_answer_is_read(notebook: OpenNotebook) -> None:
    """Markdown, code, formulas, reasoning, calls, usage, "from cache": shown without foreign resources."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("rivers").click()
    chat.ask("Which rivers cross Paris?")
    answer = chat.articles("Assistant")
    expect(chat.status).to_contain_text("done")
    expect(answer.get_by_role("heading", name="Rivers")).to_be_visible()
    expect(answer.get_by_role("cell", name="775")).to_be_visible()
    expect(answer.get_by_label("Done")).to_be_visible()
    expect(answer.get_by_role("link", name="the list")).to_have_attribute(
        "href", "https://rivers.example/list"
    )
    expect(answer.locator("math")).to_have_count(2)
    expect(answer.get_by_text("graph TD; Source --> Sea")).to_be_visible()
    expect(answer.locator("code span").filter(has_text="def").first).to_be_visible()  # it is highlighted
    expect(answer.get_by_role("button", name="Load image from maps.example")).to_be_visible()
    expect(answer.get_by_text('<b onclick="alert(1)">')).to_be_visible()
    expect(answer.get_by_role("button", name="Back to reference 1")).to_be_visible()

    thought = answer.get_by_role("group").filter(has_text=re.compile(r"Thought for \d\.\d s"))
    expect(thought.get_by_text("Which rivers are there?")).to_be_hidden()
    thought.get_by_text("Thought for").click()
    expect(thought.get_by_text("Which rivers are there?")).to_be_visible()
    call = answer.get_by_role("group", name="look_up was not run", exact=True)
    expect(call.locator("code")).to_have_text('{\n  "city": "Paris"\n}')

    answer.get_by_role("button", name="Copy code").first.click()
    assert page.page.evaluate("navigator.clipboard.readText()").startswith("def length(river: str) -> int:\n")
    answer.get_by_role("button", name="Copy", exact=True).last.click()  # of the message, not of the call
    assert page.page.evaluate("navigator.clipboard.readText()") == ANSWER
    answer.get_by_role("button", name="Details").click()
    for name, value in (("Input tokens", "12"), ("Output tokens", "345"), ("Finish reason", "stop")):
        expect(answer.get_by_text(re.compile(f"^{name}:?$")).locator("xpath=..")).to_contain_text(value)
    expect(answer.get_by_text("12 input tokens, 345 output tokens")).to_be_visible()
    for name in ("Time to first token", "Duration"):
        expect(answer.get_by_text(re.compile(f"^{name}"))).to_be_visible()
    page.execute(
        "asked, cached = (chat.session(name, model='nbchat-echo') for name in ('asked', 'cached'))\n"
        "asked.ask('Paris?', cache=True), cached.ask('Paris?', cache=True)"
    )
    chat.tab("cached").click()
    expect(chat.articles("Assistant").get_by_text("from cache")).to_be_visible()
    assert page.foreign_requests == []
    assert page.uncaught_errors == []


def test_text_being_read_does_not_move(notebook: OpenNotebook) -> None:
    """New text does not move text that is being read or selected; "Jump to latest" scrolls to it."""
    page = notebook([CHAT])
    page.run_cell(0)
    chat = Chat(page)
    chat.tab("slow").click()
    chat.ask("Go on.")
    expect(chat.articles("Assistant")).to_contain_text("Paragraph 59.")
    expect(chat.articles("Assistant").get_by_text("Paragraph 59.")).to_be_in_viewport()

    read = chat.articles("Assistant").get_by_text("Paragraph 20.")
    read.scroll_into_view_if_needed()
    chat.log.hover()
    page.page.mouse.wheel(0, -60)
    expect(chat.button("Jump to latest")).to_be_visible()
    read.dblclick(position={"x": 12, "y": 8})
    before = read.bounding_box()
    selected = page.page.evaluate("getSelection().toString()")
    assert selected.strip()
    page.execute("slow.go()")
    expect(chat.status).to_contain_text("done")
    expect(chat.articles("Assistant")).to_contain_text("And more.")
    assert read.bounding_box() == before
    assert page.page.evaluate("getSelection().toString()") == selected
    chat.region.get_by_role("button", name="Jump to latest").click()
    expect(chat.articles("Assistant").get_by_text("And more.").last).to_be_in_viewport()
