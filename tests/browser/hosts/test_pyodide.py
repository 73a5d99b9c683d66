"""nbchat in a real Pyodide, which Node runs."""

from __future__ import annotations

import json
import subprocess
import sysconfig

from tools.hosts import HOSTS, ROOT

SCRIPT = """
import { loadPyodide } from "pyodide";
const [mounts, code] = JSON.parse(process.argv[2]);
const python = await loadPyodide();
for (const [path, root] of Object.entries(mounts)) {
  python.FS.mkdirTree(path);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, path);
}
console.log(python.runPython(code));
"""
CODE = """
import sys
sys.dont_write_bytecode = True
sys.path += ["/src", "/site", "/packages"]
import json, traceback
import nbchat
def error_of(use):
    try:
        return f"returned {use()!r}"
    except Exception as error:
        return "".join(traceback.format_exception(error))
uses = {
    "ask": lambda: nbchat.ask("?"),
    "compare": lambda: nbchat.compare("?", ["a", "b"]),
    "map": lambda: nbchat.map(["a"], "{prompt}"),
    "models": lambda: nbchat.models(),
    "session": lambda: nbchat.session("geo"),
    "view": lambda: nbchat.ChatTabs(),
}
json.dumps({name: error_of(use) for name, use in uses.items()})
"""


def test_each_use_in_pyodide_names_the_missing_feature() -> None:
    """Each use raises one error that names the missing feature and an alternative."""
    folder = HOSTS / "pyodide"
    (folder / "uses.mjs").write_text(SCRIPT, encoding="utf-8")
    mounts = {
        "/src/nbchat": str(ROOT / "nbchat"),
        "/site": str(folder / "site"),
        # The packages without compiled parts are those of this environment.
        "/packages": sysconfig.get_path("purelib"),
    }
    command = ["node", "uses.mjs", json.dumps([mounts, CODE])]
    shown = subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True, timeout=300
    ).stdout
    errors = json.loads(shown.splitlines()[-1])
    assert set(errors) == {"ask", "compare", "map", "models", "session", "view"}
    for error in errors.values():
        assert error.count("Traceback") == 1, error
        assert "threads and sockets, which Python in a browser (Pyodide, JupyterLite) lacks" in error
        assert "Open this notebook with a kernel that runs on a computer" in error
