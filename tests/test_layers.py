"""Imports go up the list of layers only, without cycles, and modules keep a readable size."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nbchat"

# Packages of nbchat that a layer may import, in addition to itself.
LAYERS = {
    "core": set(),
    "protocol": {"core"},
    "server": {"core"},
    "providers": {"core"},
    "stores": {"core"},
    "export": {"core"},
    "context": {"core"},
    "engine": {"core", "providers", "server", "stores"},
    "wire": {"core", "protocol", "export", "engine"},
    "batch_engine": {"core", "providers", "stores", "engine"},
    "runner": {"core", "protocol", "providers", "stores", "engine", "wire", "batch_engine"},
    "service": {"core", "protocol", "stores", "engine", "batch_engine", "runner"},
    "handles": {"core", "context", "export", "providers", "engine"},
    "batch": {"core", "context", "engine", "batch_engine", "handles", "providers"},
    "tools": {"core", "context", "engine", "providers"},
    "mcp_client": {"core", "engine", "providers", "tools"},
    "jupyter": {
        *("core", "context", "export", "protocol", "providers", "server", "stores"),
        *("engine", "wire", "batch_engine", "runner", "service", "handles", "batch", "tools", "mcp_client"),
    },
}
# The surface may import all layers, and no layer imports it.
SURFACE = {"__init__", "__main__", "api", "cli"}

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
    """Return the layer of a module such as `nbchat.core.run` or `nbchat.protocol`."""
    return module.split(".")[1]


def imports(module: str, *, at_run_time: bool = False) -> Iterator[str]:
    """Yield the imports anywhere in a module, also in functions.

    Parameters
    ----------
    at_run_time
        Leave out imports that only a type checker follows.
    """
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    only_typing = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if at_run_time and id(node) in only_typing:
            continue
        if isinstance(node, ast.Import):
            yield from [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import; write the whole name"
            # `from nbchat import protocol` names a module, `from nbchat.core.run import Run` does not.
            yield from (
                _modules(node.module or "", [name.name for name in node.names])
                if f"nbchat.{node.module}".startswith("nbchat.nbchat")
                else [node.module or ""]
            )


def _modules(package: str, names: list[str]) -> list[str]:
    """Return the modules that `from package import names` imports."""
    within = [f"{package}.{name}" for name in names if f"{package}.{name}" in MODULES]
    return within if len(within) == len(names) else [package, *within]


@pytest.mark.parametrize("module", list(MODULES))
def test_imports_go_up_the_list_of_layers_only(module: str) -> None:
    """A module imports only its own layer and those listed for it."""
    layer = layer_of(module)
    if layer in SURFACE:
        return
    assert layer in LAYERS, f"{module} is in no layer: move it, or add the layer here and to the docs"
    for name in imports(module):
        if name == "nbchat" or name.startswith("nbchat."):
            assert name != "nbchat", f"{module} must not import the surface"
            assert layer_of(name) in {layer, *LAYERS[layer]}, f"{module} must not import {name}"


def modules_in_cycles(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules that import each other, or that import such modules."""
    left = dict(graph)
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


def test_no_modules_import_each_other() -> None:
    """There is no import cycle, including imports for type checkers."""
    graph = {module: {name for name in imports(module) if name in MODULES} for module in MODULES}
    # The surface loads its names when they are used; no module imports it.
    del graph["nbchat.__init__"]
    assert not modules_in_cycles(graph), "these modules import each other"
    # One more import, of a widget by the host, makes a cycle that is found.
    graph["nbchat.jupyter.host"].add("nbchat.jupyter.widgets")
    assert {"nbchat.jupyter.host", "nbchat.jupyter.widgets"} <= set(modules_in_cycles(graph))


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_architecture_draws_these_layers() -> None:
    """The table of packages in the documentation lists the imports that these tests allow."""
    row = re.compile(r"^\| `nbchat/(\w+)(?:\.py|/)` \| .* \| (.*) \|$", re.MULTILINE)
    drawn: dict[str, set[str]] = {}
    for name, allowed in row.findall(ARCHITECTURE):
        if name in LAYERS:
            above = set(drawn) if allowed == "everything above" else set()
            drawn[name] = above | {word for word in allowed.split(", ") if word in LAYERS}
    assert drawn == LAYERS


def test_the_architecture_names_modules_that_exist() -> None:
    """Each module and class on the paths of a token and of a Stop exists."""
    named = re.findall(r"`(?:nbchat/)?((?!js/|tests/|nbchat/)\w+/\w+\.py)`(?: \(`(\w+)[`.])?", ARCHITECTURE)
    assert named
    for path, name in named:
        text = (PACKAGE / path).read_text(encoding="utf-8")
        assert not name or re.search(rf"^(class|def) {name}\b", text, re.MULTILINE), f"{path} has no {name}"


LARGE_MODULES = {
    "nbchat.core.errors": "the list of all errors, which is read as a whole",
    "nbchat.core.transcript": "one fold, a function for each event",
    "nbchat.handles.session": "the public session, half of it documentation",
    "nbchat.protocol": "the list of all wire messages, half of it documentation",
}
LARGE_CLASSES = {
    "nbchat.handles.registry.SessionRegistry": "the public registry, most of it documentation",
    "nbchat.handles.session.Session": "the public session, half of it documentation",
}
MAX_MODULE, MAX_CLASS = 500, 400


@pytest.mark.parametrize("module", list(MODULES))
def test_modules_and_classes_are_of_a_readable_size(module: str) -> None:
    """No module has more than 500 lines and no class more than 400, except for a documented reason."""
    text = MODULES[module].read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert (lines > MAX_MODULE) == (module in LARGE_MODULES), f"{module} has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            size = (node.end_lineno or 0) - node.lineno + 1
            name = f"{module}.{node.name}"
            assert (size > MAX_CLASS) == (name in LARGE_CLASSES), f"{name} has {size} lines"


def test_core_knows_nothing_outside() -> None:
    """The core does no I/O and imports no event loop, and no library but msgspec."""
    for module in MODULES:
        if layer_of(module) == "core":
            outside = {name.split(".")[0] for name in imports(module, at_run_time=True)} - {
                "nbchat",
                "msgspec",
                "__future__",
            }
            allowed = (set(sys.stdlib_module_names) - IO) | EXCEPTIONS.get(module, set())
            assert outside <= allowed, f"{module} must not import {outside - allowed}"


def test_only_jupyter_knows_jupyter() -> None:
    """Only nbchat/jupyter imports widgets, comms and IPython."""
    for module in MODULES:
        if layer_of(module) != "jupyter":
            known = {name.split(".")[0] for name in imports(module, at_run_time=True)}
            assert not known & JUPYTER, f"{module} must not import {known & JUPYTER}"


def test_importing_nbchat_is_cheap() -> None:
    """`import nbchat` loads no client, no widget, no server and no event loop."""
    code = "import sys, nbchat; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "nbchat" in loaded
    assert not loaded & {"openai", "pydantic", "httpx2", "h11", "asyncio", *JUPYTER}
