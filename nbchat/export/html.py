"""`to_html` writes one HTML file without scripts, with a content security policy that blocks all loading."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Final

from nbchat.core.messages import ImagePart
from nbchat.core.transcript import SessionState
from nbchat.export.calls import runs_of, shown_parts
from nbchat.export.sanitized import PREFIX, plain, render, sanitize_page
from nbchat.export.turns import SPEAKERS, beside, html_of, speaker

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --raised: #8881;
  --muted: color-mix(in srgb, CanvasText 65%, Canvas); }
body { max-width: 48rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.55 system-ui, sans-serif;
  overflow-wrap: anywhere; }
h1, h2, h3, h4, h5, h6 { line-height: 1.25; margin: 1.2em 0 .5em; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.25rem; } h3 { font-size: 1.1rem; } h4, h5, h6 { font-size: 1rem; }
p, ul, ol, blockquote, table, pre, details { margin: 0 0 .8em; }
ul, ol { padding-inline-start: 1.8em; } li > p, li > ul, li > ol { margin-bottom: .2em; }
a { color: LinkText; }
blockquote { padding-inline-start: 1em; border-inline-start: 3px solid var(--line); color: var(--muted); }
hr { border: 0; border-top: 1px solid var(--line); }
code { font: .9em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; padding: .1em .25em;
  background: var(--raised); border-radius: 3px; }
pre { overflow: auto; padding: .75rem; background: var(--raised); border: 1px solid var(--line);
  border-radius: 6px; overflow-wrap: normal; }
pre code { padding: 0; background: none; }
table { display: block; overflow: auto; border-collapse: collapse; }
th, td { padding: .3em .7em; border: 1px solid var(--line); } th { background: var(--raised); }
mtd[columnalign=left] { text-align: left; } mtd[columnalign=right] { text-align: right; }
img { max-width: 100%; }
article { margin: 0 0 1.2rem; overflow: hidden; }
article.nbchat-user { padding: .7rem 1rem; background: var(--raised); border-radius: 8px; }
article > div > :last-child { margin-bottom: 0; }
.nbchat-speaker { margin: 0 0 .3rem; font-size: .8rem; font-weight: 600; color: var(--muted); }
.nbchat-display { display: block; margin: 0 0 .8em; overflow: auto; text-align: center; }
details { color: var(--muted); } summary { cursor: pointer; }
@media print {
  body { max-width: none; margin: 0; font-size: 11pt; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  article.nbchat-user { border: 1px solid var(--line); } pre, tr, img { break-inside: avoid; }
  h1, h2, h3, h4, .nbchat-speaker { break-after: avoid; }
}
"""


def to_html(states: Sequence[SessionState]) -> str:
    """Return conversations as one HTML page."""
    title = escape(states[0].title if len(states) == 1 else "Chats") or "Chat"
    body = "\n".join(_conversation(state, number) for number, state in enumerate(states, 1))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}{_colours()}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


@cache
def _colours() -> str:
    """Return the styles of highlighted code for light and dark themes."""
    from pygments.formatters import HtmlFormatter  # noqa: PLC0415 - imported when a page is written

    def of(style: str) -> str:
        formatter = HtmlFormatter(style=style, classprefix=PREFIX)
        lines = [line for line in formatter.get_style_defs("pre").splitlines() if f".{PREFIX}" in line]
        return "\n".join(lines)

    return f"{of('default')}\n@media screen and (prefers-color-scheme: dark) {{\n{of('github-dark')}\n}}\n"


def _conversation(state: SessionState, number: int) -> str:
    parts = [f"<h1><bdi>{plain(state.title or 'Chat')}</bdi></h1>"]
    if state.settings.instructions:
        own = f"{number}-0-"
        parts.append(_article("system", SPEAKERS["system"], render(state.settings.instructions, own)))
    runs = runs_of(state)
    for at, message in enumerate(state.path, 1):
        shown = shown_parts(message, runs.get(message.id))
        body = [*html_of(shown, _image, f"{number}-{at}-"), beside(message)]
        parts.append(_article(message.role, speaker(message), "\n".join(body)))
    return sanitize_page(f"<section>\n{chr(10).join(parts)}\n</section>")


def _article(role: str, who: str, body: str) -> str:
    return (
        f'<article class="{PREFIX}{role}">\n<p class="{PREFIX}speaker">{plain(who)}</p>\n'
        f'<div dir="auto">\n{body}\n</div>\n</article>'
    )


def _image(part: ImagePart) -> str:
    # The sanitizer removes the sources of images that are not bitmaps.
    return f'<p><img alt="{escape(part.name)}" src="{escape(part.text)}"></p>'
