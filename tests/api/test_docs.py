"""The Python code in the documentation runs, in the order of each page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure

import nbchat
from nbchat.server import DemoServer
from tests.engines import engine_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = {page.relative_to(ROOT).as_posix(): BLOCK.findall(page.read_text()) for page in PAGES}


@pytest.fixture(autouse=True)
def _as_a_reader_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in an empty folder, with neither key nor server, and leave the registry empty."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "NBCHAT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NBCHAT_DEMO_PACE", "0")
    monkeypatch.chdir(tmp_path)
    first_token_s = nbchat.registry.limits.first_token_s
    yield
    nbchat.registry.limits.first_token_s = first_token_s
    nbchat.registry.stop_all()
    nbchat.registry.wait_all(30)
    for session in list(nbchat.registry.values()):
        session.delete()
    nbchat.config(model=None, instructions=None, base_url=None, provider=None, share=None, runner=None)


def what_readers_have() -> dict[str, Any]:
    """Return the objects that pages assume a reader has."""
    geo = nbchat.session("geo")
    geo.ask("Which rivers cross Paris?")
    Path("talk.md").write_text("# Talk\n\n## User\n\nHello?\n\n## Assistant\n\nHello!\n")
    nbformat.write(nbformat.v4.new_notebook(metadata={"nbchat": nbchat.registry.snapshot()}), "their.ipynb")
    return {
        "nbchat": nbchat,
        "geo": geo,
        "session": geo,
        "prompts": ["Seine", "Tiber"],
        "frame": pd.DataFrame({"product": ["kettle"], "review": ["It boils."]}),
        "df": pd.DataFrame({"km": [775]}),
        "fig": Figure(),
        "data": b"GIF89a",
        "chat": nbchat.ChatTabs(),
    }


SERVERS = ("http://localhost:11434/v1", "http://localhost:4000/v1", "https://api.example.com/v1")
MODELS = {'"qwen3"': '"nbchat-echo"', '"large"': '"nbchat-tour"'}


@pytest.fixture
def recipes() -> Iterator[list[str]]:
    """Give the code of the recipes, with the embedded server in place of the reader's servers."""
    engine, server = engine_of(nbchat.registry), DemoServer()
    here = str(engine.loop.run(server.start()))
    blocks = CODE["docs/howto/recipes.md"]
    for name, replacement in [*((url, here) for url in SERVERS), *MODELS.items()]:
        blocks = [block.replace(name, replacement) for block in blocks]
    yield blocks
    nbchat.registry.wait_all(30)
    engine.loop.run(engine.providers.aclose())
    engine.loop.run(server.close())


def test_the_recipes_run(recipes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No recipe raises; those for software that is not installed here are marked as `py` and are not run."""
    monkeypatch.setenv("CLOUD_KEY", "sk-cloud")
    scope = what_readers_have()
    Path("report.md").write_text("# Report")
    for block in recipes:
        exec(compile(block, "recipes.md", "exec"), scope)
    assert nbchat.session("draft").ask("Seine").text == "Seine"


@pytest.mark.parametrize(
    "page", [page for page, blocks in CODE.items() if blocks and not page.endswith("recipes.md")]
)
def test_the_code_of_a_page_runs(page: str) -> None:
    """No block raises; each may use the names that earlier blocks define."""
    scope = {} if page == "README.md" else what_readers_have()
    for block in CODE[page]:
        exec(compile(block, page, "exec"), scope)


def test_the_first_answer_takes_two_lines_and_no_key() -> None:
    """The README's first lines of Python are an import and a question, and the question is answered."""
    lines = [line for line in CODE["README.md"][0].splitlines() if line]
    assert len(lines) == 2
    scope: dict[str, Any] = {}
    exec(lines[0], scope)
    assert "nbchat" in eval(lines[1], scope).text
