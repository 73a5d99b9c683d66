"""`cache=True` in a runner in its own process, for requests with credentials of the kernel."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.runner.counting_server import CountingServer
from tests.runner.notebooks import LinkedNotebook, said
from tests.waiting import wait_for

CANARY = "canary-5f2d9a771c"

ASK = """
import os
import nbchat

def ask(prompt, deployment, token, model="count"):
    headers = {"X-Deployment": deployment + os.environ["CANARY"], "X-Token": token + os.environ["CANARY"]}
    session = nbchat.session(model=model)
    run = session.send(prompt, cache=True, params={"extra_headers": headers}).wait(60)
    assert run.state == "completed", run.error
    assert session.messages[-1].notices == ()
    return run.from_cache

def batch(value):
    params = {"extra_headers": {"X-Deployment": value}}
    return nbchat.map(["one"], model="count", cache=True, progress=False, params=params)[0].from_cache
"""


@pytest.fixture
def notebook(tmp_path: Path, server: CountingServer) -> Iterator[LinkedNotebook]:
    """Return a notebook whose answers come from that server through a runner."""
    with LinkedNotebook(tmp_path, OPENAI_BASE_URL=server.base_url, CANARY=CANARY) as made:
        yield made


def wait_kept(notebook: LinkedNotebook, answers: int) -> None:
    """Wait until the cache has that many answers, which a busy machine may add after the end of a run."""

    def kept() -> bool:
        for path in notebook.folder.rglob("cache/*.sqlite"):
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                try:
                    return bool(connection.execute("SELECT COUNT(*) FROM answers").fetchone() == (answers,))
                except sqlite3.OperationalError:
                    return False  # the runner is about to create the table, or writes to it
        return False

    wait_for(kept, "the answers in the cache", 120)


def test_requests_with_headers_are_cached_as_without_a_runner(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """The value of a header counts, that of a credential does not, and no file contains either."""
    server.go()
    kernel = notebook.kernel()
    said(kernel, ASK)

    def ask(deployment: str, token: str, *, kept: int) -> bool:
        answer = said(kernel, f'print(ask("one", "{deployment}", "{token}"))')
        wait_kept(notebook, kept)
        return answer == "True"

    assert not ask("blue", "a", kept=1)
    assert not ask("green", "a", kept=2)
    assert ask("blue", "a", kept=2)
    assert ask("blue", "b", kept=2)
    assert server.asked == ["one", "one"]
    sent = [(headers["x-deployment"], headers["x-token"]) for headers in server.headers]
    assert sent == [(f"blue{CANARY}", f"a{CANARY}"), (f"green{CANARY}", f"a{CANARY}")]
    files = [path for path in notebook.folder.rglob("*") if path.is_file()]
    assert [path for path in files if "cache" in path.parts]
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_batches_with_headers_are_cached(notebook: LinkedNotebook, server: CountingServer) -> None:
    """An equal batch with an equal header is answered from the cache; one with another header is sent."""
    server.go()
    kernel = notebook.kernel()
    said(kernel, ASK)
    for value, cached, kept in (("blue", "False", 1), ("blue", "True", 1), ("green", "False", 2)):
        assert said(kernel, f'print(batch("{value}"))') == cached
        wait_kept(notebook, kept)
    assert server.asked == ["one", "one"]


def test_the_embedded_server_receives_headers(tmp_path: Path) -> None:
    """A request with a header is answered by the embedded server of a runner, and then from the cache."""
    with LinkedNotebook(tmp_path, CANARY=CANARY) as notebook:
        kernel = notebook.kernel()
        said(kernel, ASK)
        for cached in ("False", "True"):
            assert said(kernel, 'print(ask("one", "blue", "a", "nbchat-echo"))') == cached
            wait_kept(notebook, 1)
