"""The command `nbchat runner --listen`, and scripts that use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from nbchat.service.access import new_token
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.script import Script
from tools.jupyter_home import environment

ROOT = Path(__file__).parents[2]


class Process:
    """A service in a process of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        command = [
            *(sys.executable, "-m", "nbchat", "runner", "--listen", "127.0.0.1:0"),
            *("--store", str(folder / "store"), "--tokens", str(folder / "tokens")),
            *("--metrics", "127.0.0.1:0"),
        ]
        self.process = subprocess.Popen(command, env=dict(env), stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.log = self.process.stderr
        self.metrics = ""
        for line in self.log:
            if (found := re.search(r"metrics are read at (\S+)$", line)) is not None:
                self.metrics = f"http://{found[1]}/metrics"
            if (found := re.search(r"port (\d+)$", line)) is not None:
                self.url = f"http://127.0.0.1:{found[1]}/"
                return
        raise AssertionError(self.process.wait(60))

    def end(self) -> int:
        """Return the status of the process, which is ended if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.log.read()
        self.log.close()
        return self.process.wait(60)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a service, without its token."""
    return environment(tmp_path, os.environ) | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def process(tmp_path: Path, env: Mapping[str, str]) -> Iterator[Process]:
    """Return a service in a process of its own, which one person may use."""
    (tmp_path / "token").write_text(new_token(tmp_path / "tokens", "ada"))
    made = Process(tmp_path, env)
    try:
        yield made
    finally:
        made.end()


def test_sigterm_lets_answers_finish(
    process: Process, tmp_path: Path, env: Mapping[str, str], server: CountingServer
) -> None:
    """After SIGTERM the service completes and saves its answer, and ends; the next service has the answer."""
    token = (tmp_path / "token").read_text()
    kernel = env | {
        "NBCHAT_RUNNER_TOKEN": token,
        "OPENAI_BASE_URL": server.base_url,
        "OPENAI_API_KEY": "sk-canary",
    }
    script = Script(kernel | {"NBCHAT_RUNNER": process.url})
    try:
        assert script.value("session.send('one').state in ('queued', 'connecting', 'streaming')") == "True"
        until(lambda: script.value("'one-150 ' in session.runs[0].text") == "True")
    finally:
        script.kill()
    for name in ("cmdline", "environ"):
        shown = Path(f"/proc/{process.process.pid}/{name}")
        if shown.exists():  # on Linux
            assert not any(secret.encode() in shown.read_bytes() for secret in (token, "sk-canary"))
    with urllib.request.urlopen(process.metrics, timeout=30) as answer:
        assert b"nbchat_live_runs 1.0" in answer.read()
    process.process.send_signal(signal.SIGTERM)
    server.go()
    log = process.log.read()
    assert process.process.wait(60) == 0
    assert "ended" in log
    assert not any(secret in log for secret in (token, "sk-canary"))
    after = Process(tmp_path, env)
    try:
        script = Script(kernel | {"NBCHAT_RUNNER": after.url})
        try:
            assert script.value("session.runs[0].state") == "completed"
            assert script.value("session.messages[-1].text") == answer_to("one")
        finally:
            script.kill()
    finally:
        after.end()
    assert server.asked == ["one"]


def test_a_service_that_cannot_be_reached_is_an_error(env: Mapping[str, str]) -> None:
    """A kernel does not answer in place of a service, which would show other sessions."""
    code = "import nbchat\nnbchat.session('a', model='nbchat-echo').ask('b')"
    with_url = env | {"NBCHAT_RUNNER": "http://127.0.0.1:9/", "NBCHAT_RUNNER_TOKEN": "nbchat-canary"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=with_url, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:9/ cannot be reached" in done.stderr
    assert "nbchat-canary" not in done.stderr


def test_without_a_url_nothing_of_a_service_is_imported(env: Mapping[str, str]) -> None:
    """A script that asks a question imports neither the package nor its dependency."""
    code = (
        "import nbchat, sys; nbchat.session('a', model='nbchat-echo').ask('b'); "
        "print([name for name in sys.modules if name.startswith(('nbchat.service', 'websockets'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
