"""`make demo` opens the first notebook, and leaves the user's files alone."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.waiting import wait_for
from tools import demo

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give the home of a user who has only set up a provider."""
    return tmp_path


@pytest.fixture
def address(home: Path) -> Iterator[str]:
    """Give the address that `make demo ARGS=--no-browser` prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.demo", "--no-browser", "--ServerApp.port=0"],
        cwd=ROOT,
        env=os.environ | {"HOME": str(home), "OPENAI_API_KEY": "sk-of-the-user"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/lab\S+", line):
                yield found[0]
                break
        else:
            pytest.fail("".join(said))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.stderr.close()
        process.wait(30)


def json_at(url: str) -> Any:
    """Return the JSON at a URL, or `None` if nothing listens there."""
    try:
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            return None
        raise


def test_the_demo_prints_where_it_serves_the_first_notebook(address: str, home: Path) -> None:
    """The printed address leads to an existing notebook, and the user's home stays unchanged."""
    base, _, rest = address.partition("/lab/tree/")
    path, _, token = rest.partition("?token=")
    assert path == demo.NOTEBOOK
    # The address is printed a moment before the server listens.
    contents = f"{base}/api/contents/{path}?content=0&token={token}"
    assert wait_for(lambda: json_at(contents), "the demo's notebook")["type"] == "notebook"
    assert list(home.iterdir()) == []


def test_the_demo_takes_the_provider_s_settings_away(home: Path) -> None:
    """With a key in the user's environment, the demo still uses the embedded server."""
    variables = demo.environment(home, {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": "u", "NBCHAT_MODEL": "m"})
    assert {"OPENAI_API_KEY", "OPENAI_BASE_URL", "NBCHAT_MODEL"}.isdisjoint(variables)


def imported_by(notebook: Path) -> set[str]:
    """Return the packages that the code cells of a notebook import."""
    names = set()
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type != "code" or cell.source.startswith("%%"):
            continue
        source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).partition(".")[0])
    return names


def test_the_demo_installs_exactly_what_its_notebooks_import() -> None:
    """The group `demo` has exactly the packages that the demo notebooks import."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    imported = set().union(*(imported_by(path) for path in (ROOT / "notebooks").glob("*.ipynb")))
    assert imported - sys.stdlib_module_names - {"nbchat"} == set(groups["demo"])


def test_make_demo_installs_the_demo_group_and_not_the_tools_for_development(tmp_path: Path) -> None:
    """In a fresh clone, `make demo` calls pip once for the demo's packages and leaves its output visible."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", f"VENV={tmp_path / 'venv'}", "demo"]
    lines = subprocess.run(
        command, cwd=ROOT, env=variables, check=True, capture_output=True, text=True
    ).stdout
    installing = [line for line in lines.splitlines() if "pip" in line and "--group" in line]
    assert [line.partition("--group")[2].strip() for line in installing] == ["demo"]
    assert "--quiet" not in installing[0]
