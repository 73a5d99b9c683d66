"""Ceilings for phrases that make docstrings, comments, messages and documents hard to read."""

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PATTERNS = {
    "speaks of code as of a person": r"\b(says?|said|tells?|told|hears?|heard|wish(es|ed)?)\b",
    "names a person who is not there": r"\b(nobody|somebody|whoever|anybody)\b",
    "goes on": r"\b((go|goes|going|went|gone|read|reads|reading) on|anew)\b",
    "None as a word": r"\b(is|are|there is|there are) none\b",
}
"""Phrases to avoid, as regular expressions."""

CEILING_PER_1000_WORDS = 1.0
"""Occurrences of a pattern in one kind of text."""

CEILING_OPENINGS = 0.005
"""Share of docstrings that open with a question word."""

OPENING = re.compile(r"(What|Who|Where|Whether|How)\b")


def python_files() -> list[Path]:
    """Return the files of the package, its tests, tools and benchmarks, without this one."""
    folders = ("nbchat", "tests", "tools", "benchmarks")
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [path for path in paths if path != Path(__file__)]


def docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a module, and the strings that stand below constants and fields."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value.value


def comments(path: Path) -> Iterator[str]:
    """Yield a module's comments without the leading `#`."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")


def typescript_comments() -> Iterator[str]:
    """Yield the comments of the page's TypeScript sources."""
    for path in sorted((ROOT / "js" / "src").rglob("*.ts")):
        if path.name == "protocol.ts":
            continue  # generated from docstrings that are counted already
        for match in re.finditer(r"/\*.*?\*/|(?<!:)//[^\n]*", path.read_text(encoding="utf-8"), re.DOTALL):
            yield match[0]


def documents() -> Iterator[str]:
    """Yield the text of the documents, without code."""
    paths = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    for path in paths:
        if "_build" not in path.parts:
            yield re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def labels() -> Iterator[str]:
    """Yield the English texts of the page, and the titles and texts of the demo notebooks."""
    for name in ("i18n/index.ts", "i18n/extras.ts", "markdown/strings.ts"):
        source = (ROOT / "js" / "src" / name).read_text(encoding="utf-8")
        for match in re.finditer(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`', source):
            yield match[1] or match[2] or ""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield "".join(cell["source"])


def messages() -> Iterator[str]:
    """Yield the strings of the package with at least four words: errors, labels, notices."""
    for path in sorted((ROOT / "nbchat").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        skip = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
                text = node.value
                if len(text.split()) >= 4:
                    yield text


SOURCES: dict[str, Callable[[], list[str]]] = {
    "docstrings": lambda: [text for path in python_files() for text in docstrings(path)],
    "comments": lambda: [text for path in python_files() for text in comments(path)],
    "TypeScript": lambda: list(typescript_comments()),
    "documents": lambda: list(documents()),
    "messages": lambda: list(messages()),
    "labels": lambda: list(labels()),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_prose_stays_plain(name: str, pattern: str) -> None:
    """No pattern occurs more often than its ceiling."""
    texts = SOURCES[name]()
    words = sum(len(text.split()) for text in texts)
    found = [m[0] for text in texts for m in re.finditer(PATTERNS[pattern], text)]
    assert len(found) <= words * CEILING_PER_1000_WORDS / 1000, found[:20]


def test_docstrings_name_their_subject() -> None:
    """At most one docstring in two hundred opens with a question word."""
    texts = SOURCES["docstrings"]()
    found = [text.split("\n")[0] for text in texts if OPENING.match(text)]
    assert len(found) <= len(texts) * CEILING_OPENINGS, found[:20]
