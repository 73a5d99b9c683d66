"""The table of hosts in the documentation, and the tests behind it that need environments of their own.

python -m tools.hosts            make the environments, run their tests, and print the table
python -m tools.hosts --table    print the table as the documentation has it
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
HOSTS: Final = ROOT / ".venv-hosts"
PIP_INSTALL: Final = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")

ENVIRONMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "documents": ("jupyterlab==4.6.6", "jupyter-server-documents==0.3.3"),
    "marimo": ("marimo==0.25.2", "anywidget==0.11.0"),
    "papermill": ("papermill==2.7.0", "ipykernel==7.4.0"),
    "nbclassic": ("nbclassic==1.3.3", "anywidget==0.11.0"),
    "voila": ("voila==0.5.13", "anywidget==0.11.0", "ipykernel==7.4.0"),
}
"""Packages of each environment, in addition to nbchat."""

PYODIDE: Final = "pyodide@314.0.7"
"""Pyodide's npm package."""
PYODIDE_WHEEL: Final = ("msgspec==0.22.0", "--platform=pyemscripten_2026_0_wasm32", "--python-version=3.14")
"""The compiled package that importing nbchat needs, for Pyodide."""

COLUMNS: Final = (
    "views, streaming",
    "Send in the page",
    "Stop in the page",
    "both while a cell runs",
    "reload of the page",
    "saved in the notebook's file",
    "`ask`, `wait`",
)


class Proof(NamedTuple):
    """A cell of the table: in words how it is tested, and the tests."""

    how: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        """Return the text of the cell."""
        return f"tested ({self.how})"


class No(NamedTuple):
    """A cell of the table: not supported, or not tested. The tests check that users are informed."""

    why: str
    tests: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the text of the cell."""
        return f"no: {self.why}" if self.why else "no"


NO: Final = No("")
CHANNEL: Final = Proof(
    "browser", ("tests/browser/test_wire_page.py::test_messages_of_a_page_come_on_the_control_channel",)
)
RELOAD: Final = Proof(
    "browser", ("tests/browser/test_restore.py::test_after_a_reload_the_file_gets_the_newest_transcript",)
)
RELOAD_7: Final = Proof(
    "browser", ("tests/browser/hosts/test_notebook_7.py::test_notebook_7_shows_chats_after_a_reload",)
)
FILE: Final = Proof("browser", ("tests/browser/test_restore.py::test_the_file_alone_carries_it_all",))
API: Final = Proof("kernel", ("tests/api/test_everywhere.py::test_thirty_calls_give_the_same_everywhere",))
PANEL: Final = Proof(
    "browser", ("tests/browser/test_visitors_page.py::test_visitors_of_a_panel_server_are_kept_apart",)
)
RUN: Final = Proof(
    "browser", ("tests/browser/hosts/test_marimo.py::test_run_mode_shows_chats_of_each_visitor",)
)
EDIT: Final = Proof(
    "browser",
    ("tests/browser/hosts/test_marimo.py::test_edit_mode_shows_chats_and_survives_running_cells_again",),
)
CELLS: Final = Proof(
    "emulated",
    (
        "tests/browser/test_cells_only.py::test_waiting_in_a_cell_shows_the_answers",
        "tests/browser/test_cells_only.py::test_an_interrupted_wait_leaves_the_answer_alone",
    ),
)
PROXY: Final = Proof(
    "emulated",
    ("tests/browser/hosts/test_vscode.py::test_vs_codes_widget_manager_shows_chats",),
)
TURNS: Final = Proof(
    "browser", ("tests/browser/hosts/test_documents.py::test_two_pages_under_server_documents",)
)
AGAIN: Final = Proof(
    "browser", ("tests/browser/hosts/test_documents.py::test_a_reload_under_server_documents",)
)
CLASSIC: Final = Proof("browser", ("tests/browser/hosts/test_nbclassic.py::test_nbclassic_shows_chats",))
VOILA: Final = Proof(
    "browser", ("tests/browser/hosts/test_voila.py::test_voila_shows_chats_of_each_visitor",)
)
MILL: Final = Proof(
    "papermill", ("tests/browser/hosts/test_papermill.py::test_papermill_writes_whole_conversations",)
)
REFUSED: Final = No(
    "an error (tested)",
    ("tests/browser/hosts/test_pyodide.py::test_each_use_in_pyodide_names_the_missing_feature",),
)
STATIC: Final = Proof(
    "browser", ("tests/browser/test_static_page.py::test_a_converted_notebook_shows_the_conversation",)
)
EXECUTED: Final = Proof(
    "nbclient", ("tests/jupyter/test_executed.py::test_the_executed_notebook_contains_the_conversation",)
)

TABLE: Final[Mapping[str, tuple[Proof | No, ...]]] = {
    "JupyterLab 4.6": (CHANNEL, CHANNEL, CHANNEL, CHANNEL, RELOAD, FILE, API),
    "Notebook 7.6": (CHANNEL, CHANNEL, CHANNEL, CHANNEL, RELOAD_7, FILE, API),
    "nbclassic 1.3": (
        *(CLASSIC, CLASSIC, CLASSIC, No("after the cell")),
        *(CLASSIC, No("no access to the file"), CLASSIC),
    ),
    "jupyter-server-documents 0.3": (
        *(No("only outputs that the user trusts", AGAIN.tests), TURNS, TURNS),
        *(NO, No("only outputs that the user trusts", AGAIN.tests), NO, AGAIN),
    ),
    "marimo 0.25, edit": (EDIT, EDIT, EDIT, No("after the cell"), EDIT, No("nothing is saved"), EDIT),
    "marimo 0.25, run": (
        *(RUN, RUN, RUN, No("after the cell")),
        *(No("another visit", RUN.tests), No("nothing is saved"), RUN),
    ),
    "Voilà 0.5": (
        *(VOILA, VOILA, VOILA, No("there are no cells")),
        *(No("begins with a new kernel"), No("nothing is saved"), VOILA),
    ),
    "Panel 1.9": (PANEL, PANEL, PANEL, No("there are no cells"), NO, No("nothing is saved"), NO),
    "Colab": (CELLS, CELLS, NO, No("after the cell"), NO, No("no access to the file"), CELLS),
    "VS Code": (
        *(PROXY, PROXY, PROXY, PROXY),
        *(No("after the cell ran again", PROXY.tests), No("no access to the file", PROXY.tests), PROXY),
    ),
    "nbclient, pages of nbconvert": (STATIC, *(No("no kernel"),) * 4, EXECUTED, EXECUTED),
    "papermill 2.7": (*(No("no page"),) * 5, MILL, MILL),
    "script, IPython": (*(No("no page"),) * 6, API),
    "Pyodide 314, JupyterLite": (REFUSED,) * 7,
}
"""By host: a cell for each column."""


def table(failed: frozenset[str] = frozenset()) -> str:
    """Return the table in Markdown, with cells whose tests failed marked."""
    lines = ["| host | " + " | ".join(COLUMNS) + " |", "| --- " * (len(COLUMNS) + 1) + "|"]
    for host, cells in TABLE.items():
        texts = [str(cell) if failed.isdisjoint(cell.tests) else "FAILED" for cell in cells]
        lines.append(f"| {host} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def python_of(name: str) -> str:
    """Return the Python of an environment."""
    return str(HOSTS / name / "bin" / "python")


def make_environments() -> None:
    """Install every environment that does not exist yet, or whose packages have changed."""
    for name, packages in ENVIRONMENTS.items():
        with _changed(HOSTS / name, packages) as changed:
            if changed:
                shutil.rmtree(HOSTS / name, ignore_errors=True)
                script = str(ROOT / "tools" / "make_venv.sh")
                python = os.environ | {"PYTHON": sys.executable}
                subprocess.run(["bash", script, str(HOSTS / name)], check=True, env=python)
                pip = [python_of(name), *PIP_INSTALL]
                subprocess.run([*pip, *packages, "--editable", str(ROOT)], check=True)
    folder = HOSTS / "pyodide"
    with _changed(folder, (PYODIDE, *PYODIDE_WHEEL)) as changed:
        if changed:
            npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
            subprocess.run([*npm, "--prefix", str(folder), PYODIDE], check=True)
            wheel = [*PYODIDE_WHEEL, "--implementation=cp", "--only-binary=:all:", "--no-deps"]
            target = ["--upgrade", "--target", str(folder / "site")]
            subprocess.run([sys.executable, *PIP_INSTALL, *wheel, *target], check=True)


@contextmanager
def _changed(folder: Path, packages: Sequence[str]) -> Iterator[bool]:
    """Return whether the folder has other packages; if they were installed without error, record them."""
    stamp, text = folder / "packages.txt", "\n".join(packages)
    changed = not stamp.exists() or stamp.read_text(encoding="utf-8") != text
    if changed:
        print(f"Installing {', '.join(packages)} into {folder}", flush=True)
    yield changed
    stamp.write_text(text, encoding="utf-8")


class Recorder:
    """A plugin of pytest that notes the tests that failed or did not run."""

    def __init__(self) -> None:
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: object) -> None:
        """Note a test that did not pass, without its parameters."""
        if getattr(report, "outcome", "") != "passed":
            self.failed.add(str(getattr(report, "nodeid", "")).partition("[")[0])


def main(arguments: list[str]) -> int:
    """Print the table, after the tests unless it alone is requested; return the exit code."""
    if arguments == ["--table"]:
        print(table())
        return 0
    import pytest  # noqa: PLC0415 - the table needs no tests

    make_environments()
    tests = sorted({name for row in TABLE.values() for cell in row for name in cell.tests})
    recorder = Recorder()
    code = int(pytest.main(["-p", "no:xdist", "--timeout", "600", *arguments, *tests], plugins=[recorder]))
    print(table(frozenset(recorder.failed)))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
