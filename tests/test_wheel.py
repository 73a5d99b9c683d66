"""The wheel as users install it: in an environment without any file of this checkout."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SHOW = """
import json, pathlib, sys
import nbchat
from comm.base_comm import BaseComm

# A kernel's comms would carry this to the page; here it is printed.
sent = []
class Recorder(BaseComm):
    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        sent.append((msg_type, data or {}))
import comm
comm.create_comm = Recorder

bundle = nbchat.ChatTabs()._repr_mimebundle_()
data = bundle[0] if isinstance(bundle, tuple) else bundle
opened = [message["state"] for kind, message in sent if kind == "comm_open"]
print(json.dumps({
    "mime": sorted(data),
    "models": [state.get("_model_name") for state in opened],
    "scripts": [len(state["_esm"]) for state in opened if "_esm" in state],
    "file": nbchat.__file__,
    "version": nbchat.__version__,
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel in an environment without Node."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, env={**os.environ, "PATH": str(folder)})
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_whole_package(wheel: Path) -> None:
    """The wheel contains every module, the built page with its licences and `py.typed`, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        entry_points = archive.read(metadata).decode()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "nbchat"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert inside == {name for name in listed.stdout.split("\n") if name and (ROOT / name).exists()}
    assert {"nbchat/py.typed", "nbchat/static/hub.js", "nbchat/static/THIRD_PARTY_LICENSES.txt"} <= inside
    assert "nbchat = nbchat.cli:main" in entry_points
    assert "[nbchat.providers]\nopenai = nbchat.providers.openai:OpenAIProvider" in entry_points


@pytest.mark.timeout(600)  # downloads the dependencies that are not in pip's cache
def test_the_wheel_works_without_node_and_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Installed alone, the package imports, shows a widget with its script, and provides its command."""
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pins = ["--constraint", str(ROOT / "requirements" / "dev.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pins, str(wheel)], check=True)

    alone = {"PATH": str(home / "bin"), "HOME": str(tmp_path)}
    shown = subprocess.run(
        [python, "-c", SHOW], cwd=tmp_path, env=alone, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    said = json.loads(shown.stdout)
    assert Path(said["file"]).is_relative_to(home)
    assert "application/vnd.jupyter.widget-view+json" in said["mime"]
    assert said["scripts"]
    assert min(said["scripts"]) > 0

    helped = subprocess.run(
        [home / "bin" / "nbchat", "--help"], env=alone, capture_output=True, text=True, check=True
    )
    assert "serve" in helped.stdout
