"""Write `js/src/protocol.ts` from `nbchat/protocol.py`.

::

    python -m tools.generate_protocol            write the file
    python -m tools.generate_protocol --check    write nothing; fail when the file is stale

Every dataclass that a message can contain becomes an interface, every named union, literal and
`StrEnum` a type, every public whole number of `nbchat.protocol` a constant; their docstrings come along.
A field with a default is required all the same: what is on the wire is complete.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import reduce
from operator import or_
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from nbchat.core.events import Event
    from nbchat.core.run import RunState

TARGET: Final = Path(__file__).parent.parent / "js" / "src" / "protocol.ts"
WIDTH: Final = 100
HEADER: Final = "// Generated from nbchat/protocol.py by `make build`. Do not edit."
SCALARS: Final[Mapping[object, str]] = {
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
    Any: "unknown",
    object: "unknown",
}


class UnknownType(TypeError):
    """A message has a field of a type that has no counterpart on the wire."""


@dataclass(frozen=True, slots=True)
class Docs:
    """What a module's source says, which its objects no longer know."""

    lines: Mapping[str, int]
    """Where each name of the module is defined."""
    texts: Mapping[str, str]
    """The docstring below each assignment; of a class's field under `Class.field`."""


def read_docs(module: ModuleType) -> Docs:
    """Return where the module's names are defined, and the docstrings below its assignments."""
    lines: dict[str, int] = {}
    texts: dict[str, str] = {}

    def visit(body: Sequence[ast.stmt], prefix: str) -> None:
        for statement, following in zip(body, [*body[1:], None], strict=True):
            match statement:
                case ast.ClassDef(name=name):
                    lines[name] = statement.lineno
                    visit(statement.body, f"{name}.")
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    lines[prefix + name] = statement.lineno
                    match following:
                        case ast.Expr(value=ast.Constant(value=str(text))):
                            texts[prefix + name] = inspect.cleandoc(text)
                        case _:
                            pass
                case _:
                    pass

    visit(ast.parse(inspect.getsource(module)).body, "")
    return Docs(lines, texts)


def is_alias(value: object) -> bool:
    """Whether a module's attribute is a union or a literal that deserves its name."""
    return get_origin(value) in (Union, types.UnionType, Literal) and len(get_args(value)) > 1


class Generator:
    """Finds what the messages are made of, and writes it down once each.

    Parameters
    ----------
    module
        The module whose public dataclasses and unions are the messages.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.package = module.__name__.partition(".")[0]
        self.classes: dict[str, type] = {}
        self.modules: dict[str, Docs] = {}
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and is_dataclass(value):
                self._collect(value)
        self.aliases = dict(self._aliases())

    def _collect(self, kind: object) -> None:
        """Add every class that `kind` is made of."""
        if isinstance(kind, type) and (is_dataclass(kind) or issubclass(kind, StrEnum)):
            if self.classes.get(kind.__name__) is kind:
                return
            if kind.__name__ in self.classes:
                raise UnknownType(f"two classes on the wire are called {kind.__name__}")
            self.classes[kind.__name__] = kind
            self._docs(kind.__module__)
            if is_dataclass(kind):
                for hint in get_type_hints(kind).values():
                    self._collect(hint)
        elif get_origin(kind) is not Literal:
            for argument in get_args(kind):
                self._collect(argument)

    def _docs(self, module: str) -> Docs:
        if module not in self.modules:
            self.modules[module] = read_docs(sys.modules[module])
        return self.modules[module]

    def _aliases(self) -> Iterator[tuple[str, object]]:
        """Yield the unions and literals that are named where the messages are, and made of them only."""
        known = set(self.classes.values()) | {str, int, float, bool}
        for module in self.modules:
            for name in self.modules[module].lines:
                value = getattr(sys.modules[module], name, None)
                if not name.startswith("_") and is_alias(value):
                    members = () if get_origin(value) is Literal else get_args(value)
                    if all(member in known for member in members):
                        yield name, value

    def typescript(self, kind: Any) -> str:  # noqa: ANN401 - any annotation
        """Return the TypeScript type of what `kind` looks like on the wire."""
        for name, value in self.aliases.items():
            if value == kind:
                return name
        if isinstance(kind, type) and kind.__name__ in self.classes:
            return kind.__name__
        if get_origin(kind) is None and kind in SCALARS:
            return SCALARS[kind]
        return self.compound(kind)

    def compound(self, kind: Any) -> str:  # noqa: ANN401 - any annotation
        """Return the TypeScript type of a union, literal, sequence or mapping, written out."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self.union(arguments)
        if origin is Literal:
            return " | ".join([quote(value) for value in arguments])
        if origin is tuple and arguments[1:] != (...,):
            return f"readonly [{', '.join(map(self.typescript, arguments))}]"
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return f"Readonly<Record<{self.typescript(arguments[0])}, {self.typescript(arguments[1])}>>"
        if isinstance(origin, type) and issubclass(origin, Sequence):
            item = self.typescript(arguments[0])
            return f"readonly ({item})[]" if " " in item else f"readonly {item}[]"
        raise UnknownType(f"{kind!r} has no counterpart in TypeScript")

    def union(self, members: Sequence[object]) -> str:
        """Return the union; `X | None` uses the name of `X`, if it has one."""
        rest = tuple(member for member in members if member is not type(None))
        if len(rest) < len(members):
            return f"{self.typescript(reduce(or_, rest))} | null"
        # int | float and the like are one type on the wire.
        return " | ".join(dict.fromkeys(map(self.typescript, rest)))

    def interface(self, kind: type) -> str:
        """Return the interface of a dataclass."""
        docs, hints = self.modules[kind.__module__], get_type_hints(kind)
        members = [
            comment(docs.texts.get(f"{kind.__name__}.{field.name}"), "  ")
            + f"  readonly {field.name}: {self.typescript(hints[field.name])};\n"
            for field in fields(kind)
        ]
        return f"export interface {kind.__name__} {{\n{''.join(members)}}}\n"

    def constants(self) -> Iterator[str]:
        """Yield the module's public whole numbers."""
        docs = self._docs(self.module.__name__)
        for name in docs.lines:
            value = getattr(self.module, name, None)
            if name.isupper() and type(value) is int:
                yield f"{comment(docs.texts.get(name))}export const {name} = {value};\n"

    def declarations(self) -> Iterator[tuple[str, int, str]]:
        """Yield every type with the place where its original stands."""
        for name, kind in self.classes.items():
            if issubclass(kind, StrEnum):
                declaration = alias(name, [quote(str(member)) for member in kind])
            else:
                declaration = self.interface(kind)
            line = self.modules[kind.__module__].lines[name]
            yield kind.__module__, line, comment(what_it_is(kind)) + declaration
        for name, value in self.aliases.items():
            module = next(m for m, docs in self.modules.items() if name in docs.lines)
            docs = self.modules[module]
            if get_origin(value) is Literal:
                members = [quote(member) for member in get_args(value)]
            else:
                members = list(dict.fromkeys(map(self.typescript, get_args(value))))
            yield module, docs.lines[name], comment(docs.texts.get(name)) + alias(name, members)

    def text(self) -> str:
        """Return the whole file: what is used first, the protocol itself last."""
        order = sorted(self.modules, key=lambda module: (module == self.module.__name__, module))
        declarations = sorted(self.declarations(), key=lambda d: (order.index(d[0]), d[1]))
        return "\n".join([f"{HEADER}\n", *self.constants(), *[text for _, _, text in declarations]])


def quote(value: object) -> str:
    """Return a literal's value as TypeScript writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def alias(name: str, members: Sequence[str]) -> str:
    """Return a named union, on one line where it fits."""
    line = f"export type {name} = {' | '.join(members)};\n"
    if len(line) <= WIDTH:
        return line
    return f"export type {name} =\n" + "\n".join([f"  | {member}" for member in members]) + ";\n"


def what_it_is(kind: type) -> str:
    """Return a class's docstring without its examples, which are Python."""
    text, _, _ = (inspect.getdoc(kind) or "").partition("\n\nExamples\n")
    return text


def comment(text: str | None, indent: str = "") -> str:
    """Return a docstring as a JSDoc comment; nothing for none."""
    if not text:
        return ""
    line = f"{indent}/** {text} */\n"
    if "\n" not in text and len(line) <= WIDTH:
        return line
    wrapped = [
        part
        for paragraph in text.splitlines()
        for part in textwrap.wrap(paragraph, WIDTH - len(indent) - 3) or [""]
    ]
    body = "\n".join([f"{indent} * {part}".rstrip() for part in wrapped])
    return f"{indent}/**\n{body}\n{indent} */\n"


def transitions(table: Mapping[RunState, Mapping[type[Event], RunState]]) -> str:
    """Return the table of run states as a constant, by the events' tags: the page folds by it too."""
    rows = []
    for state, row in table.items():
        moves = [
            f"    {get_args(get_type_hints(event)['type'])[0]}: {quote(str(to))},\n"
            for event, to in row.items()
        ]
        rows.append(f"  {state}: {{\n{''.join(moves)}  }},\n" if moves else f"  {state}: {{}},\n")
    return (
        "/** Where an event leads from each state; what is not in a state's row is not taken there. */\n"
        "export const TRANSITIONS: Readonly<\n"
        '  Record<RunState, Readonly<Partial<Record<Event["type"], RunState>>>>\n'
        f"> = {{\n{''.join(rows)}}};\n"
    )


def generate() -> str:
    """Return what `protocol.ts` has to be."""
    import nbchat.protocol  # noqa: PLC0415 - only generating needs it; --help and tests of the parts do not
    from nbchat.core.run import TRANSITIONS  # noqa: PLC0415 - as above

    return "\n".join([Generator(nbchat.protocol).text(), transitions(TRANSITIONS)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or check it; return the exit status."""
    parser = argparse.ArgumentParser(prog="generate_protocol", description="Write js/src/protocol.ts.")
    parser.add_argument("--check", action="store_true", help="fail when the file is stale; write nothing")
    wanted = generate()
    if parser.parse_args(arguments).check:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted:
            return 0
        print("js/src/protocol.ts is stale. Run `make build` and commit it.", file=sys.stderr)
        return 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
