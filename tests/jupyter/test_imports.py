"""Imports at the first use of a module, in cells that may be interrupted."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nbchat.jupyter.imports import load
from tests.waiting import wait_for


def test_an_interrupt_does_not_cut_off_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt ends the wait for the import, and the module is complete afterwards."""
    (tmp_path / "nbchat_slow_module.py").write_text(
        textwrap.dedent("""
            import signal
            import threading
            interrupted = threading.Event()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            interrupted.wait(60)
            complete = True
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            load("nbchat_slow_module")
    finally:
        signal.signal(signal.SIGINT, before)
    module = sys.modules["nbchat_slow_module"]
    module.interrupted.set()
    wait_for(lambda: getattr(module, "complete", False), "the import")
    del sys.modules["nbchat_slow_module"]


def test_a_failed_import_is_reported_by_the_next_one() -> None:
    """`load` raises nothing for a module that does not exist."""
    load("nbchat_no_such_module")
    assert "nbchat_no_such_module" not in sys.modules


def test_the_modules_of_outputs_are_imported_on_another_thread() -> None:
    """The first output of an answer imports nothing that compiles or draws on the thread of the cell."""
    script = """
        import sys
        import threading
        from nbchat.jupyter.representations import of_text
        from nbchat.core.text_table import Table

        main = []

        class Watch:
            def find_spec(self, name, path=None, target=None):
                if threading.current_thread() is threading.main_thread():
                    main.append(name)

        sys.meta_path.insert(0, Watch())
        assert "nh3" not in sys.modules
        of_text("a **bold** word")
        assert "nh3" in sys.modules
        heavy = [name for name in main if name.partition(".")[0] in ("nh3", "markdown_it", "nbchat")]
        assert heavy == [], heavy
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_tools_cost_nothing_until_they_are_used() -> None:
    """Importing nbchat and the shell of a kernel loads neither pydantic nor modules of tools."""
    script = """
        import sys
        import nbchat
        from nbchat.jupyter import kernel_shell
        kernel_shell.KernelShell
        late = ("pydantic", "PIL", "nbchat.tools.results", "nbchat.context.descriptions", "narwhals")
        assert [name for name in late if name in sys.modules] == []
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
