"""The layers hold: imports go up one list, and what a layer must not know, it does not import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nbchat"

# What a layer may import of nbchat, besides itself.
LAYERS = {
    "core": set(),
    "protocol": {"core"},
    "server": {"core"},
    "providers": {"core"},
    "stores": {"core"},
    "export": {"core"},
    "context": {"core"},
    "engine": {"core", "providers", "server", "stores"},
    "wire": {"core", "protocol", "engine"},
    "handles": {"core", "context", "export", "providers", "engine"},
    "batch": {"core", "context", "providers", "engine", "handles"},
    "jupyter": {
        *("core", "context", "export", "protocol", "providers", "server", "stores"),
        *("engine", "wire", "handles", "batch"),
    },
}
# The surface, which stands on all of them and is stood upon by none.
SURFACE = {"__init__", "__main__", "api", "cli"}

# Imports that go down the list until the engine has an owner of its own; see the comments.
DEBTS = {
    # A title is asked for with the machinery of a batch.
    ("nbchat.engine.auto_title", "nbchat.batch.runner"),
    # `nbchat.map` finds the process's registry through the surface.
    ("nbchat.batch.map", "nbchat.api"),
    ("nbchat.batch.compare", "nbchat.api"),
    # The defaults in force are printed as a table.
    ("nbchat.engine.config", "nbchat.handles.text_table"),
    # A comparison and a progress bar draw themselves.
    ("nbchat.batch.compare", "nbchat.jupyter.comparison"),
    ("nbchat.batch.map", "nbchat.jupyter.progress"),
}

JUPYTER = {"IPython", "anywidget", "comm", "ipykernel", "ipywidgets", "jupyter_client", "traitlets"}
IO = {
    *("aiofiles", "asyncio", "concurrent", "http", "io", "logging", "multiprocessing", "os", "pathlib"),
    *(
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "urllib",
    ),
}
EXCEPTIONS = {
    # A new id needs the system's randomness, and must not be repeated by a forked child.
    "nbchat.core.ids": {"os"},
    # Unicode's tables of graphemes, which the standard library lacks.
    "nbchat.core.text": {"wcwidth"},
}


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
}
"""The package's modules by name, with their files."""


def layer_of(module: str) -> str:
    """Return the layer of `nbchat.core.run` or of `nbchat.protocol`."""
    return module.split(".")[1]


def imports(module: str) -> Iterator[str]:
    """Yield what a module imports anywhere in it, in functions too; not what only a type checker reads."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    only_typing = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in only_typing:
            continue
        if isinstance(node, ast.Import):
            yield from [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively; say the whole name"
            # `from nbchat import protocol` names a module, `from nbchat.core.run import Run` does not.
            yield from (
                [f"nbchat.{name.name}" for name in node.names]
                if node.module == "nbchat"
                else [node.module or ""]
            )


@pytest.mark.parametrize("module", list(MODULES))
def test_imports_go_up_the_list_of_layers_only(module: str) -> None:
    """A module imports its own layer and those that its layer stands on."""
    layer = layer_of(module)
    if layer in SURFACE:
        return
    assert layer in LAYERS, f"{module} is in no layer: move it, or add the layer here and to the docs"
    for name in imports(module):
        if (module, name) in DEBTS:
            continue
        # `nbchat` itself is loaded before any module of it, and gives its version.
        if name.startswith("nbchat.") and name != "nbchat.__version__":
            assert layer_of(name) in {layer, *LAYERS[layer]}, f"{module} must not import {name}"


def test_core_knows_nothing_outside() -> None:
    """The core does no I/O and imports no event loop, and no library but msgspec."""
    for module in MODULES:
        if layer_of(module) == "core":
            outside = {name.split(".")[0] for name in imports(module)} - {"nbchat", "msgspec", "__future__"}
            allowed = (set(sys.stdlib_module_names) - IO) | EXCEPTIONS.get(module, set())
            assert outside <= allowed, f"{module} must not import {outside - allowed}"


def test_only_jupyter_knows_jupyter() -> None:
    """Widgets, comms and IPython are imported in nbchat/jupyter and nowhere else."""
    for module in MODULES:
        if layer_of(module) != "jupyter":
            known = {name.split(".")[0] for name in imports(module)}
            assert not known & JUPYTER, f"{module} must not import {known & JUPYTER}"


def test_importing_nbchat_is_cheap() -> None:
    """`import nbchat` loads no client, no widget, no server and no event loop."""
    code = "import sys, nbchat; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "nbchat" in loaded
    assert not loaded & {"openai", "pydantic", "httpx2", "h11", "asyncio", *JUPYTER}
