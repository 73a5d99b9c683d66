"""`cache=True` in a runner in its own process, for requests with credentials of the kernel."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.counting_server import CountingServer
from tests.runner.notebooks import LinkedNotebook, said

CANARY = "canary-5f2d9a771c"

ASK = """
import json, os
import nbchat

def ask(prompt, deployment, token, model="count"):
    headers = {"X-Deployment": deployment + os.environ["CANARY"], "X-Token": token + os.environ["CANARY"]}
    session = nbchat.session(model=model)
    run = session.send(prompt, cache=True, params={"extra_headers": headers}).wait(60)
    assert run.state == "completed", run.error
    assert session.messages[-1].notices == ()
    return run.from_cache
"""


@pytest.fixture
def notebook(tmp_path: Path, server: CountingServer) -> Iterator[LinkedNotebook]:
    """Return a notebook whose answers come from that server through a runner."""
    with LinkedNotebook(tmp_path, OPENAI_BASE_URL=server.base_url, CANARY=CANARY) as made:
        yield made


def test_requests_with_headers_are_cached_as_without_a_runner(
    notebook: LinkedNotebook, server: CountingServer
) -> None:
    """The value of a header counts, that of a credential does not, and no file contains either."""
    server.go()
    kernel = notebook.kernel()
    said(kernel, ASK)
    asked = """print(json.dumps([ask("one", *headers) for headers in [
        ("blue", "a"), ("green", "a"), ("blue", "a"), ("blue", "b")
    ]]))"""
    assert json.loads(said(kernel, asked)) == [False, False, True, True]
    assert server.asked == ["one", "one"]
    sent = [(headers["x-deployment"], headers["x-token"]) for headers in server.headers]
    assert sent == [(f"blue{CANARY}", f"a{CANARY}"), (f"green{CANARY}", f"a{CANARY}")]
    files = [path for path in notebook.folder.rglob("*") if path.is_file()]
    assert [path for path in files if "cache" in path.parts]
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]


def test_batches_with_headers_are_cached(notebook: LinkedNotebook, server: CountingServer) -> None:
    """An equal batch with an equal header is answered from the cache; one with another header is sent."""
    server.go()
    code = """
import json, nbchat

def batch(value):
    params = {"extra_headers": {"X-Deployment": value}}
    return nbchat.map(["one"], model="count", cache=True, progress=False, params=params)[0].from_cache

print(json.dumps([batch(value) for value in ("blue", "blue", "green")]))
"""
    assert json.loads(said(notebook.kernel(), code)) == [False, True, False]
    assert server.asked == ["one", "one"]


def test_the_embedded_server_receives_headers(tmp_path: Path) -> None:
    """A request with a header is answered by the embedded server of a runner, and then from the cache."""
    with LinkedNotebook(tmp_path, CANARY=CANARY) as notebook:
        kernel = notebook.kernel()
        said(kernel, ASK)
        asked = 'print(json.dumps([ask("one", "blue", "a", "nbchat-echo") for _ in range(2)]))'
        assert json.loads(said(kernel, asked)) == [False, True]
