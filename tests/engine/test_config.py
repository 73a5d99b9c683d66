"""Settings come from layers, and each value names the layer that it comes from."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbchat
from nbchat.engine.config import Defaults, Origin


@pytest.fixture(autouse=True)
def _take_back() -> Iterator[None]:
    """Restore the settings of the process's registry."""
    yield
    nbchat.config(model=None, provider=None, base_url=None, instructions=None)


def test_each_layer_wins_over_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values set in this kernel win, then the configuration file, the environment and the default."""
    defaults = Defaults()
    assert defaults.look("model").source == "default"

    monkeypatch.setenv("NBCHAT_MODEL", "from-environment")
    assert (defaults.model, defaults.look("model").source) == (
        "from-environment",
        "environment (NBCHAT_MODEL)",
    )

    defaults.set({"model": "from-file"}, Origin.FILE)
    assert (defaults.model, defaults.look("model").source) == ("from-file", "configuration file")

    defaults.set({"model": "from-cell"})
    assert (defaults.model, defaults.look("model").source) == ("from-cell", "set in this kernel")

    defaults.set({"model": None})
    assert defaults.model == "from-file"


def test_the_environment_is_read_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run uses an environment variable that was set in a later cell."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert nbchat.config()["base_url"] == "http://localhost:1/v1"
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert nbchat.config()["base_url"] is None


def test_config_shows_the_source_of_each_value() -> None:
    """`nbchat.config()` is a mapping of values, with their sources in `sources` and in its repr."""
    found = nbchat.config(model="nbchat-echo", instructions="Answer briefly.")
    assert found == {
        "model": "nbchat-echo",
        "provider": None,
        "base_url": None,
        "api": None,
        "instructions": "Answer briefly.",
        "titles": None,
        "share": None,
        "runner": None,
    }
    assert dict(found.sources) == {
        "model": "set in this kernel",
        "provider": "default",
        "base_url": "default",
        "api": "default",
        "instructions": "set in this kernel",
        "titles": "default",
        "share": "default",
        "runner": "default",
    }
    assert "model         nbchat-echo      set in this kernel" in repr(found)


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"modell": "x"}, TypeError, "unknown setting 'modell'; expected one of: model, provider"),
        ({"model": 3}, TypeError, "model must be a string, not int"),
        ({"model": "two\nlines"}, ValueError, "one line"),
        ({"base_url": "localhost:11434"}, ValueError, "such as http://localhost:11434/v1"),
        ({"base_url": "ftp://host/v1"}, ValueError, "must be a URL"),
        ({"api": "completions"}, ValueError, "one of auto, chat, responses"),
        ({"titles": "emoji"}, ValueError, "one of words, model"),
    ],
)
def test_a_wrong_value_is_refused_whole(values: dict[str, object], error: type[Exception], says: str) -> None:
    """An invalid value raises with the values that are allowed, and no other setting of the call is set."""
    with pytest.raises(error, match=says):
        nbchat.config(**{"instructions": "kept out", **values})  # type: ignore[arg-type]
    assert nbchat.config()["instructions"] is None


def test_a_password_in_a_base_url_is_not_shown() -> None:
    """A password in a URL is redacted in the repr, and in the error for an invalid URL."""
    found = nbchat.config(base_url="http://user:hunter2@localhost/v1")
    assert "hunter2" not in repr(found)
    with pytest.raises(ValueError, match="redacted") as caught:
        nbchat.config(base_url="ftp://user:hunter2@localhost/v1")
    assert "hunter2" not in str(caught.value)


IPYTHON = """
import json, sys
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell(config=Config({"NbChat": {"model": "from-file", "instructions": "In the file."}}))
InteractiveShell._instance = shell
import nbchat
said = {}
said["file"] = [nbchat.config()["model"], nbchat.config().sources["model"]]
shell.run_line_magic("load_ext", "nbchat")
shell.run_line_magic("config", "NbChat.model = 'from-cell'")
said["cell"] = [nbchat.config()["model"], nbchat.config().sources["model"]]
nbchat.config(model="from-python")
said["shown"] = shell.run_line_magic("config", "NbChat.model")
nbchat.config(model=None)
said["back"] = [shell.run_line_magic("config", "NbChat.model"), nbchat.config().sources["model"]]
shell.run_line_magic("config", "NbChat.base_url = 'nonsense'")  # IPython prints the refusal
said["base_url"] = nbchat.config()["base_url"]
print(json.dumps(said))
"""


PROVIDERS = """
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell

named = {"wrong": {"url": "http://localhost:1/v1"}, "right": {"base_url": "http://localhost:1/v1"}}
InteractiveShell._instance = InteractiveShell(config=Config({"NbChat": {"providers": named}}))
from nbchat.jupyter.process import current
print(*current().engine.providers.named_servers)
"""


def test_a_wrong_provider_in_a_file_is_reported_and_the_others_are_used(tmp_path: Path) -> None:
    """An entry of `c.NbChat.providers` with an unknown field is ignored with a warning that names it."""
    done = subprocess.run(
        [sys.executable, "-c", PROVIDERS],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(nbchat.__file__).parents[1],
        env={"IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path), "PATH": ""},
    )
    assert done.stdout.split() == ["right"], done.stderr
    assert "the provider 'wrong' of nbchat's configuration was ignored: it has no field 'url'" in done.stderr


def test_ipython_configures_nbchat(tmp_path: Path) -> None:
    """`%config NbChat` precedes `c.NbChat` in a file, and both agree with `nbchat.config`."""
    done = subprocess.run(
        [sys.executable, "-c", IPYTHON],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(nbchat.__file__).parents[1],
        env={"IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["file"] == ["from-file", "configuration file"]
    assert said["cell"] == ["from-cell", "set in this kernel"]
    assert said["shown"] == "from-python"
    assert said["back"] == ["from-file", "configuration file"]
    assert said["base_url"] is None
    assert "base_url must be a URL" in done.stdout + done.stderr
