"""Every example in a docstring runs, and every public name has a docstring."""

import doctest
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

import nbchat

FUNCTIONS = [name for name in nbchat.__all__ if inspect.isfunction(getattr(nbchat, name))]
CLASSES = [name for name in nbchat.__all__ if inspect.isclass(getattr(nbchat, name))]

PATCHES_THE_PROCESS = {"nbchat.allow_nested_loops"}
"""Examples that cannot be undone, and run in their own process."""

AT_FULL_LENGTH = {"nbchat.stop_all"}
"""Examples whose answers must still be live when the next line runs.

They also run in their own process: the demo server of this process may have been started at full speed.
"""

IN_A_PROCESS = """
import pathlib, sys
from tests.api.test_examples import TESTS, play
play(next(test for test in TESTS if test.name == sys.argv[1]), pathlib.Path.cwd())
"""


def examples() -> Iterator[doctest.DocTest]:
    """Yield the docstrings of the public surface that contain examples."""
    finder = doctest.DocTestFinder(exclude_empty=True, recurse=True)
    names = {"nbchat": nbchat}
    for name in nbchat.__all__:
        for test in finder.find(getattr(nbchat, name), f"nbchat.{name}", module=False, globs=dict(names)):
            if test.examples:
                yield test


TESTS = list(examples())


def _write_files(folder: Path) -> None:
    """Write the files that examples read."""
    (folder / "talk.md").write_text("# Talk\n\n## User\n\nHello?\n\n## Assistant\n\nHello!\n")
    nbchat.session("saved", model="nbchat-echo").ask("Hello?")
    notebook = nbformat.v4.new_notebook(metadata={"nbchat": nbchat.registry.snapshot()})
    nbformat.write(notebook, folder / "chat.ipynb")


def play(test: doctest.DocTest, folder: Path) -> None:
    """Run one example, and compare each result with the one below its line."""
    _write_files(folder)
    scope: dict[str, Any] = {"nbchat": nbchat, "geo": nbchat.session("geo", model="nbchat-echo")}
    for example in test.examples:
        if example.want:
            # A line with a result is an expression, as in the doctest module.
            got = repr(eval(example.source, scope)) + "\n"
            assert doctest.OutputChecker().check_output(example.want, got, doctest.ELLIPSIS), got
        else:
            exec(example.source, scope)


@pytest.mark.parametrize("test", TESTS, ids=[test.name for test in TESTS])
def test_an_example_runs(test: doctest.DocTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The example raises nothing and gives the documented results."""
    monkeypatch.setenv("NBCHAT_DEMO_PACE", "1" if test.name in AT_FULL_LENGTH else "0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NBCHAT_JOURNAL_DIR", str(tmp_path / "journals"))
    if test.name in PATCHES_THE_PROCESS | AT_FULL_LENGTH:
        command = [sys.executable, "-c", IN_A_PROCESS, test.name]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stderr
        return
    try:
        play(test, tmp_path)
    finally:
        nbchat.registry.stop_all()
        nbchat.registry.wait_all(30)
        for session in list(nbchat.registry.values()):
            session.delete()
        nbchat.config(model=None, instructions=None, base_url=None, provider=None)


@pytest.mark.parametrize(
    "name", [*FUNCTIONS, *[name for name in CLASSES if not issubclass(getattr(nbchat, name), Exception)]]
)
def test_a_public_name_has_an_example(name: str) -> None:
    """Every function and every class of nbchat has an example, except for errors."""
    assert f"nbchat.{name}" in {test.name for test in TESTS}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_documents_its_arguments_and_result(name: str) -> None:
    """Every public function has a docstring and an annotation for everything."""
    function = getattr(nbchat, name)
    signature = inspect.signature(function)
    assert function.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_documents_all_that_is_public(name: str) -> None:
    """Every public class, and every public method and property of it, has a docstring."""
    cls = getattr(nbchat, name)
    assert cls.__doc__
    for member, value in vars(cls).items():
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert value.__doc__, f"{name}.{member}"
