"""The files of `docs/howto/deploy`, and `make demo-service`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from traitlets.config import Config

from benchmarks.service import table
from nbchat.cli import main
from nbchat.service.process import Options, address_in, checked_advertise
from nbchat.service.storage import RedisStorage, SqliteFolder
from tests.redis_process import RedisProcess

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "howto" / "deploy"
PAGE = (ROOT / "docs" / "howto" / "deploy.md").read_text("utf-8")


def options_of(
    arguments: Sequence[str], environment: Mapping[str, str], patch: pytest.MonkeyPatch
) -> Options:
    """Return the options of a service that is started with these arguments."""
    found: list[Options] = []
    patch.setattr("nbchat.service.process.run", found.append)
    for name, value in environment.items():
        patch.setenv(name, value)
    assert main(["runner", *arguments]) == 0
    return found[0]


def test_the_compose_file_starts_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments are accepted, and other replicas can reach each one in its network."""
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]["nbchat"]
    script = service["entrypoint"][2].replace("$$", "$")
    assert service["entrypoint"][:2] == ["sh", "-c"]
    printed = subprocess.run(
        ["sh", "-c", script.replace("exec nbchat runner", "printf '%s\\n'"), "nbchat", *service["command"]],
        env=os.environ | {"HOSTNAME": "4c01db0b339c"},  # Docker sets it
        capture_output=True,
        text=True,
        check=True,
    )
    options = options_of(printed.stdout.splitlines(), service["environment"], monkeypatch)
    host, port = address_in(options.listen)
    checked_advertise(options, host)
    assert options.advertise == f"http://4c01db0b339c:{port}/"
    assert options.tls_by_proxy
    assert options.tokens == Path("/etc/nbchat/tokens")
    assert options.store == "redis://valkey:6379"


def test_the_store_of_the_compose_file_is_accepted() -> None:
    """A server with its options keeps sessions, which the service checks when it starts."""
    command = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))["services"]["valkey"]["command"]
    assert command[0] == "valkey-server"
    with RedisProcess(*command[1:]) as server:
        RedisStorage(server.url)


def test_the_manifest_starts_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its arguments are accepted, replicas reach each other, and the probe asks for health."""
    service, deployment = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text("utf-8"))
    pod = deployment["spec"]["template"]
    container = pod["spec"]["containers"][0]
    variables = {"POD_IP": "10.0.0.5", "NBCHAT_STORE": "redis://valkey:6379"}
    assert {"JUPYTERHUB_API_URL", *variables} == {variable["name"] for variable in container["env"]}
    arguments = [argument.replace("$(POD_IP)", variables["POD_IP"]) for argument in container["args"]]
    options = options_of(arguments, variables, monkeypatch)
    host, port = address_in(options.listen)
    checked_advertise(options, host)
    assert options.advertise == f"http://10.0.0.5:{port}{options.prefix}"
    assert options.auth == "hub"
    assert container["readinessProbe"]["httpGet"] == {"path": f"{options.prefix}healthz", "port": port}
    assert service["spec"]["ports"][0]["port"] == port
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def configuration() -> Any:
    """Return the configuration of JupyterHub, as its file sets it."""
    config = Config()
    source = (FOLDER / "jupyterhub_nbchat.py").read_text("utf-8")
    exec(compile(source, "jupyterhub_nbchat.py", "exec"), {"get_config": lambda: config})
    return config.JupyterHub


def test_the_chart_gives_the_same_access_as_the_tested_configuration() -> None:
    """The values for the Helm chart have the roles and the service of the file that is tested with a hub."""
    hub = yaml.safe_load((FOLDER / "values.yaml").read_text("utf-8"))["hub"]
    tested = configuration()
    assert {name: role["scopes"] for name, role in hub["loadRoles"].items()} == {
        role["name"]: role["scopes"] for role in tested.load_roles.get_value([])
    }
    assert list(hub["services"]) == [service["name"] for service in tested.services.get_value([])]


def test_the_page_has_the_simulated_loads() -> None:
    """The table in the documentation is the one that the benchmark prints."""
    assert table() in PAGE


def test_the_data_of_a_person_are_found_as_documented(tmp_path: Path) -> None:
    """The commands of the page match all keys and files of that person's namespace, and no others."""
    pattern = re.search(r"--pattern '(.+)'", PAGE)
    code = re.search(r'python -c "(.+)"', PAGE)
    assert pattern is not None
    assert code is not None
    people = ("ada", "ada2", "a-ada", "ada-smith", "ada-1", "ada.b", "José Ñ", "x:y", "../..")
    code_of_all = "; ".join(code[1].replace("José Ñ", person) for person in people)
    ran = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code_of_all], cwd=ROOT, check=True, capture_output=True
    )
    names = dict(zip(people, ran.stdout.decode().split(), strict=True))
    with RedisProcess() as server, server.client() as client:
        for person in people:
            with_store = RedisStorage(server.url).open(f"person-{person}")
            with_store.claim("l-1", 60.0)
            with_store.close()
        everything = set(client.scan_iter())
        for name in names.values():
            found = set(client.scan_iter(match=pattern[1].replace("person-NAME", name)))
            assert found == {key for key in everything if b"{%s}" % name.encode() in key} != set()
    folder = SqliteFolder(tmp_path)
    patterns = re.findall(
        r"`((?:batches/|cache/)?person-NAME[^`* ]*\*)`", PAGE.partition("- SQLite: the")[2]
    )[:3]
    assert [one.partition("person")[0] for one in patterns] == ["", "batches/", "cache/"]
    files: dict[Path, str] = {}
    for person in people:
        namespace = f"person-{person}"
        folder.open(namespace).close()
        folder.batch(namespace, f"b-{'0' * 32}").open().close()
        cache = folder.cache(namespace)
        cache.parent.mkdir(exist_ok=True)
        cache.touch()
        for path in tmp_path.rglob("*.*"):
            files.setdefault(path, person)
    for person, name in names.items():
        matched = {path for one in patterns for path in tmp_path.glob(one.replace("person-NAME", name))}
        assert matched == {path for path, owner in files.items() if owner == person}
        assert {path.parent.name for path in matched} == {tmp_path.name, "batches", "cache"}


@pytest.mark.soak
@pytest.mark.skipif(sys.platform == "win32", reason="JupyterHub does not run on Windows")
def test_the_demo_of_a_service_starts_and_ends() -> None:
    """It prints an address for each user and ends all its processes at Ctrl-C."""
    command = [sys.executable, "-m", "tools.demo_service"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        children: list[psutil.Process] = []
        try:
            assert demo.stdout is not None
            lines = []
            for line in demo.stdout:
                lines.append(line)
                if "Ctrl-C" in line:
                    break
            children = psutil.Process(demo.pid).children(recursive=True)
            addresses = re.findall(r"^(?:ada|bob): (http://127\.0\.0\.1\S+)", "".join(lines), re.MULTILINE)
            assert len(re.findall("^(?:ada|bob): ", "".join(lines), re.MULTILINE)) == 2
            with urllib.request.urlopen(addresses[0], timeout=60) as response:
                assert "Sign in" in response.read().decode()
        finally:
            demo.send_signal(signal.SIGINT)
    assert demo.returncode == 0
    gone, alive = psutil.wait_procs(children, 60)
    assert not alive
    assert len(gone) >= 3
