"""`make demo` opens the first notebook, and touches nothing of the user's."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_for
from tools import demo

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give the home of a user who has set up a provider and nothing else."""
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
    """Return what is served there; None where nobody listens."""
    try:
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            return None
        raise


def test_the_demo_prints_where_it_serves_the_first_notebook(address: str, home: Path) -> None:
    """The printed address leads to a notebook that is there, and the user's home stays as it is."""
    base, _, rest = address.partition("/lab/tree/")
    path, _, token = rest.partition("?token=")
    assert path == demo.NOTEBOOK
    # The address is printed a moment before somebody listens there.
    contents = f"{base}/api/contents/{path}?content=0&token={token}"
    assert wait_for(lambda: json_at(contents), "the demo's notebook")["type"] == "notebook"
    assert list(home.iterdir()) == []


def test_the_demo_takes_the_provider_s_settings_away(home: Path) -> None:
    """With a key in the user's environment, the demo still talks to the embedded server."""
    variables = demo.environment(home, {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": "u", "NBCHAT_MODEL": "m"})
    assert {"OPENAI_API_KEY", "OPENAI_BASE_URL", "NBCHAT_MODEL"}.isdisjoint(variables)
