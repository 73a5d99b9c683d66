"""Outside the view, texts with hidden or misleading characters are also shown without deception."""

import pytest

from nbchat.core.messages import Source
from nbchat.export.deceptive import host_to_show
from nbchat.export.sanitized import code_block, fragment, plain, render, sanitize, sanitize_page, sources
from tests.export.test_sanitized import text_of

FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


@pytest.mark.parametrize(
    ("text", "href", "host"),
    [
        ("https://bank.example.com/", "https://evil.example/", "evil.example"),
        ("paypal.com", "https://evil.example/", "evil.example"),
        ("pay\u200bpal.com", "https://evil.example/", "evil.example"),
        ("ｐａｙｐａｌ．ｃｏｍ", "https://evil.example/", "evil.example"),  # noqa: RUF001 - what a model may write
        ("here", "https://bank.com@evil.example/", "evil.example"),
        ("b\u0430nk.com", "https://xn--bnk-6cd.com/", "xn--bnk-6cd.com"),
        ("me@bank.com", "mailto:me@evil.example", "evil.example"),
        ("www.bank.com", "https://bank.com/a", None),
        ("https://bank.com/a?b=c", "https://bank.com/a?b=c", None),
        ("report.py, and so on.", "https://github.com/x", None),
        ("numpy.mean", "https://numpy.org/doc", None),
        ("me@bank.com", "mailto:me@bank.com", None),
        ("x", "https://[", None),
    ],
)
def test_a_link_that_looks_like_another_shows_its_host(text: str, href: str, host: str | None) -> None:
    """A link whose text names another host is followed by its host, and no other link is."""
    assert host_to_show(text, href) == host


def test_the_host_stands_after_the_link_and_the_source() -> None:
    """The host is shown in outputs, in exported pages and in the list of sources."""
    shown = "https://bank.com (evil.example)"
    text = "[https://bank.com](https://evil.example/)"
    assert text_of(fragment(text)).strip() == shown
    assert text_of(sanitize_page(render(text, "1-"))).strip() == shown
    cited = [Source(title="https://bank.com", url="https://evil.example/")]
    assert shown in text_of(sanitize(sources(cited)))


def test_prose_hides_nothing() -> None:
    """Direction overrides, tag characters and repeated variation selectors are removed from prose."""
    hidden = "a\u202egpj.exe\u202c\U000e0041 b\ufe0f\ufe0f"
    kept = f"☺\ufe0f {FLAG} \u0645\u06cc\u200c\u062e"
    assert plain(hidden) == "agpj.exe b\ufe0f"
    assert plain(kept) == kept
    assert text_of(fragment(f"{hidden} {kept}")).strip() == f"agpj.exe b\ufe0f {kept}"


@pytest.mark.parametrize("code", ["`{}`", "```\n{}\n```", "    {}"])
def test_code_shows_its_hidden_characters(code: str) -> None:
    """Hidden characters in code are shown as their code points."""
    assert text_of(fragment(code.format("a\u202eb\u200b"))).strip() == "a⟦U+202E⟧b⟦U+200B⟧"
    assert "⟦U+202E⟧" in code_block("\u202e")


def test_right_to_left_lists_and_quotes_stand_on_the_right() -> None:
    """Lists, quotes and paragraphs take the direction of their text, and code is left to right."""
    html = fragment("- שלום\n\n> مرحبا\n\nמרחב\n\n```\nx = 'שלום'\n```")
    for tag in ("ul", "blockquote", "p"):
        assert f'<{tag} dir="auto">' in html
    assert '<pre dir="ltr">' in html
    assert "dir=" not in fragment("- one\n\n> two\n\nthree\n\n```\nx\n```")
