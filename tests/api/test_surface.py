"""The reference documents every public name."""

import ast
import importlib
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import nbchat

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
DIRECTIVE = re.compile(r"^\.\. auto\w+:: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
MODULES = ("nbchat.providers.base", "nbchat.providers.openai", "nbchat.providers.scripted")

FOR_PAGES = {"displayed_at", "hub", "kind", "panel_request", "view_id"}
"""Traits of widgets that pages read; users do not need them."""


def find(name: str) -> Any:
    """Return the object that a directive names, relative to `nbchat`."""
    path = name if name.startswith("nbchat.") else f"nbchat.{name}"
    found: Any = nbchat
    parts = path.split(".")[1:]
    for at, part in enumerate(parts):
        if isinstance(found, types.ModuleType) and not hasattr(found, part):
            importlib.import_module(".".join(["nbchat", *parts[: at + 1]]))
        found = getattr(found, part)
    return found


@cache
def reference() -> Mapping[Any, Mapping[str, str]]:
    """Return the objects of the directives, with their options."""
    found: dict[Any, Mapping[str, str]] = {}
    for page in REFERENCE.glob("*.md"):
        for name, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            given = dict(re.findall(r"^   :([\w-]+): ?(.*)$", options, re.MULTILINE))
            shown = find(name)
            found[key(shown)] = given
            if isinstance(shown, types.ModuleType):
                found |= {key(value): given for value in public(shown).values()}
    return found


def key(shown: Any) -> Any:
    """Return an object, or its id if it is not hashable as a key."""
    return shown if isinstance(shown, type | types.FunctionType | types.ModuleType) else id(shown)


def public(module: types.ModuleType) -> Mapping[str, Any]:
    """Return the public names of a module."""
    names = getattr(module, "__all__", None) or [
        name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__
    ]
    return {name: getattr(module, name) for name in names if not name.startswith("_")}


def with_docs(kind: type) -> set[str]:
    """Return the names that a class itself defines and documents."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    names = set()
    for at, node in enumerate(tree.body):
        following = tree.body[at + 1] if at + 1 < len(tree.body) else None
        text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            names.add(node.name)
        elif text and isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif text and isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.add(node.targets[0].id)
    return names


def members(kind: type) -> Iterator[tuple[str, type]]:
    """Yield the public names in `dir(kind)` that nbchat defines, each with the class that defines it."""
    for name in dir(kind):
        owner = next((base for base in kind.__mro__ if name in vars(base)), object)
        if not name.startswith("_") and owner.__module__.startswith("nbchat"):
            yield name, owner


def documented(kind: type) -> set[str]:
    """Return the members of a class that the reference documents, including those of its public bases."""
    names: set[str] = set()
    for base in kind.__mro__:
        options = reference().get(base)
        if options is None or "members" not in options:
            continue
        if listed := options["members"]:
            names |= set(re.split(r",\s*", listed))
            continue
        owners = {owner for _, owner in members(base)} if "inherited-members" in options else {base}
        shown = {name for owner in owners for name in with_docs(owner)}
        if "undoc-members" in options:
            shown |= {name for owner in owners for name in vars(owner) if not name.startswith("_")}
        names |= shown - set(re.split(r",\s*", options.get("exclude-members", "")))
    return names


NAMES = {name: getattr(nbchat, name) for name in nbchat.__all__} | {
    f"{module}.{name}": value for module in MODULES for name, value in public(find(module)).items()
}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    """Each name of `nbchat` and of the documented modules has an entry."""
    if name == "registry":
        assert "`nbchat.registry`" in (REFERENCE / "api.md").read_text(encoding="utf-8")
    else:
        assert key(NAMES[name]) in reference()


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if isinstance(value, type)])
def test_every_public_member_is_in_the_reference(name: str) -> None:
    """Each public attribute and method that `dir` lists has an entry and a docstring."""
    kind = NAMES[name]
    names = {member for member, _ in members(kind)} - FOR_PAGES
    assert not names - documented(kind)


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if isinstance(value, type)])
def test_the_reference_lists_no_other_members(name: str) -> None:
    """Each member that the reference lists exists."""
    kind = NAMES[name]
    listed = reference()[kind].get("members", "")
    assert all(hasattr(kind, member) for member in re.split(r",\s*", listed) if member)


def test_dir_lists_the_public_names() -> None:
    """Completion shows the public names of `nbchat` and no internal module."""
    assert {name for name in dir(nbchat) if not name.startswith("__")} == set(nbchat.__all__)
