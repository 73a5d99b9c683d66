"""Write `js/src/protocol.ts` from `nbchat/protocol.py`.

::

    python -m tools.generate_protocol            write the file
    python -m tools.generate_protocol --check    write nothing; fail if the file is stale

Every struct that a message can contain becomes an interface, every named union, literal and
`StrEnum` a type, and every public integer of `nbchat.protocol` a constant, all with their docstrings.
A field with a default is required, because messages on the wire contain all fields. A field whose default
is `UNSET` is optional.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal, Union, get_args, get_origin

from msgspec import NODEFAULT, Struct
from msgspec import inspect as inspection

from nbchat.core.values import Tagged
from tools.generated import write_or_check

if TYPE_CHECKING:
    from nbchat.core.events import Event
    from nbchat.core.run import RunState

TARGET: Final = Path(__file__).parent.parent / "js" / "src" / "protocol.ts"
WIDTH: Final = 100
HEADER: Final = "// Generated from nbchat/protocol.py by `make build`. Do not edit."
SCALARS: Final[Mapping[type[inspection.Type], str]] = {
    inspection.StrType: "string",
    inspection.BoolType: "boolean",
    inspection.IntType: "number",
    inspection.FloatType: "number",
    inspection.NoneType: "null",
    inspection.AnyType: "unknown",
}


class UnknownType(TypeError):
    """A message has a field whose type has no counterpart on the wire."""


@dataclass(frozen=True, slots=True)
class Docs:
    """Information from a module's source that its objects lack."""

    lines: Mapping[str, int]
    """Line where each name of the module is defined."""
    texts: Mapping[str, str]
    """The docstring below each assignment; for a class's field, under `Class.field`."""


def read_docs(module: ModuleType) -> Docs:
    """Return the lines of the module's names, and the docstrings below its assignments."""
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
    """Return whether a module's attribute is a union or a literal that becomes a named type."""
    return get_origin(value) in (Union, types.UnionType, Literal) and len(get_args(value)) > 1


class Generator:
    """Finds the types used in messages, and writes each of them once.

    Parameters
    ----------
    module
        The module whose public structs and unions are the messages.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.package = module.__name__.partition(".")[0]
        self.structs: dict[str, inspection.StructType] = {}
        self.enums: dict[str, type[Enum]] = {}
        self.modules: dict[str, Docs] = {}
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and issubclass(value, Struct):
                if issubclass(value, Tagged) and value.__struct_config__.tag is None:
                    continue  # the common fields of several messages
                self._collect(inspection.type_info(value))
        self.aliases = dict(self._aliases())
        self._names = {frozenset(members): name for name, (_, members) in self.aliases.items()}

    def _collect(self, kind: inspection.Type) -> None:
        """Add every struct and enum used in `kind`."""
        match kind:
            case inspection.StructType(cls=cls, fields=fields):
                if self._is_new(cls):
                    self.structs[cls.__name__] = kind
                    for field in fields:
                        self._collect(field.type)
            case inspection.EnumType(cls=cls):
                if self._is_new(cls):
                    self.enums[cls.__name__] = cls
            case inspection.UnionType(types=types) | inspection.TupleType(item_types=types):
                for one in types:
                    self._collect(one)
            case inspection.VarTupleType(item_type=item) | inspection.DictType(value_type=item):
                self._collect(item)
            case _:
                pass

    def _is_new(self, cls: type) -> bool:
        known: type | None = self.enums.get(cls.__name__)
        if cls.__name__ in self.structs:
            known = self.structs[cls.__name__].cls
        if known not in (None, cls):
            raise UnknownType(f"two classes on the wire are called {cls.__name__}")
        self._docs(cls.__module__)
        return known is None

    def _docs(self, module: str) -> Docs:
        if module not in self.modules:
            self.modules[module] = read_docs(sys.modules[module])
        return self.modules[module]

    def _aliases(self) -> Iterator[tuple[str, tuple[str, list[str]]]]:
        """Yield the module and the members of each named union and literal next to the messages."""
        for module in self.modules:
            for name in self.modules[module].lines:
                value = getattr(sys.modules[module], name, None)
                if name.startswith("_") or not is_alias(value):
                    continue
                if get_origin(value) is Literal:
                    yield name, (module, [quote(member) for member in get_args(value)])
                    continue
                with suppress(TypeError):  # a union of other things
                    kind = inspection.type_info(value)
                    if isinstance(kind, inspection.UnionType) and all(map(self._is_known, kind.types)):
                        yield name, (module, list(dict.fromkeys(map(self._simple, kind.types))))

    def _is_known(self, kind: inspection.Type) -> bool:
        if isinstance(kind, inspection.StructType):
            return kind.cls.__name__ in self.structs and self.structs[kind.cls.__name__].cls is kind.cls
        return type(kind) in SCALARS and not isinstance(kind, inspection.NoneType | inspection.AnyType)

    def _simple(self, kind: inspection.Type) -> str:
        if isinstance(kind, inspection.StructType | inspection.EnumType):
            return kind.cls.__name__
        if type(kind) in SCALARS:
            return SCALARS[type(kind)]
        raise UnknownType(f"{type(kind).__name__} has no counterpart in TypeScript")

    def typescript(self, kind: inspection.Type) -> str:
        """Return the TypeScript type of `kind` on the wire."""
        match kind:
            case inspection.UnionType(types=types):
                return self.union([self.typescript(one) for one in types])
            case inspection.LiteralType(values=values):
                return self.union([quote(value) for value in values])
            case inspection.TupleType(item_types=types):
                return f"readonly [{', '.join(map(self.typescript, types))}]"
            case inspection.VarTupleType(item_type=item):
                text = self.typescript(item)
                return f"readonly ({text})[]" if " " in text else f"readonly {text}[]"
            case inspection.DictType(key_type=key, value_type=item):
                return f"Readonly<Record<{self.typescript(key)}, {self.typescript(item)}>>"
            case _:
                return self._simple(kind)

    def union(self, members: Sequence[str]) -> str:
        """Return the union, or its name if it has one; `X | None` uses the name of `X`."""
        # int and float are one type on the wire.
        rest = list(dict.fromkeys(member for member in members if member != "null"))
        text = self._names.get(frozenset(rest), " | ".join(rest))
        return f"{text} | null" if "null" in members else text

    def interface(self, kind: inspection.StructType) -> str:
        """Return the interface of a struct, or the tuple of an array-like struct."""
        docs, name = self.modules[kind.cls.__module__], kind.cls.__name__
        if kind.array_like:
            items = [
                comment(docs.texts.get(f"{name}.{field.name}"), "  ")
                + f"  {field.encode_name}: {self.typescript(field.type)},\n"
                for field in kind.fields
            ]
            return f"export type {name} = readonly [\n{''.join(items)}];\n"
        members = [
            comment(docs.texts.get(f"{name}.{field.name}"), "  ")
            + f"  readonly {field.encode_name}{'?' * is_optional(field)}: {self.typescript(field.type)};\n"
            for field in kind.fields
        ]
        if kind.tag_field is not None:
            members.append(f"  readonly {kind.tag_field}: {quote(kind.tag)};\n")
        return f"export interface {name} {{\n{''.join(members)}}}\n"

    def constants(self) -> Iterator[str]:
        """Yield the module's public integers."""
        docs = self._docs(self.module.__name__)
        for name in docs.lines:
            value = getattr(self.module, name, None)
            if name.isupper() and type(value) is int:
                yield f"{comment(docs.texts.get(name))}export const {name} = {value};\n"

    def declarations(self) -> Iterator[tuple[str, int, str]]:
        """Yield every type with the location of its Python definition."""
        for name, enum in self.enums.items():
            line = self.modules[enum.__module__].lines[name]
            members = [quote(str(member)) for member in enum]
            yield enum.__module__, line, comment(what_it_is(enum)) + alias(name, members)
        for name, kind in self.structs.items():
            line = self.modules[kind.cls.__module__].lines[name]
            yield kind.cls.__module__, line, comment(what_it_is(kind.cls)) + self.interface(kind)
        for name, (module, members) in self.aliases.items():
            docs = self.modules[module]
            yield module, docs.lines[name], comment(docs.texts.get(name)) + alias(name, members)

    def text(self) -> str:
        """Return the whole file: the types used by others first, the protocol last."""
        order = sorted(self.modules, key=lambda module: (module == self.module.__name__, module))
        declarations = sorted(self.declarations(), key=lambda d: (order.index(d[0]), d[1]))
        return "\n".join([f"{HEADER}\n", *self.constants(), *[text for _, _, text in declarations]])


def is_optional(field: inspection.Field) -> bool:
    """Return whether a field is omitted from JSON if it is `UNSET`."""
    return not field.required and field.default is NODEFAULT and field.default_factory is NODEFAULT


def quote(value: object) -> str:
    """Return a literal's value in TypeScript syntax."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def alias(name: str, members: Sequence[str]) -> str:
    """Return a named union, on one line if it fits."""
    line = f"export type {name} = {' | '.join(members)};\n"
    if len(line) <= WIDTH:
        return line
    return f"export type {name} =\n" + "\n".join([f"  | {member}" for member in members]) + ";\n"


def what_it_is(kind: type) -> str:
    """Return a class's docstring without its examples, which are Python."""
    text, _, _ = (inspect.getdoc(kind) or "").partition("\n\nExamples\n")
    return text


def comment(text: str | None, indent: str = "") -> str:
    """Return a docstring as a JSDoc comment; empty if there is no docstring."""
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
    """Return the table of run states by event tag as a constant, which the page uses to apply events."""
    rows = []
    for state, row in table.items():
        moves = [f"    {event.__struct_config__.tag}: {quote(str(to))},\n" for event, to in row.items()]
        rows.append(f"  {state}: {{\n{''.join(moves)}  }},\n" if moves else f"  {state}: {{}},\n")
    return (
        "/** Where an event leads from each state; what is not in a state's row is not taken there. */\n"
        "export const TRANSITIONS: Readonly<\n"
        '  Record<RunState, Readonly<Partial<Record<Event["type"], RunState>>>>\n'
        f"> = {{\n{''.join(rows)}}};\n"
    )


def generate() -> str:
    """Return the expected content of `protocol.ts`."""
    import nbchat.protocol  # noqa: PLC0415 - only generating needs it; --help and tests of the parts do not
    from nbchat.core.run import TRANSITIONS  # noqa: PLC0415 - as above

    return "\n".join([Generator(nbchat.protocol).text(), transitions(TRANSITIONS)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or check it; return the exit status."""
    return write_or_check({TARGET: generate()}, arguments)


if __name__ == "__main__":
    sys.exit(main())
