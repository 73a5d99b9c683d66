"""`Signature`: the JSON schema of a function's arguments, and their validation with pydantic.

pydantic is imported when the first tool is switched on.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from nbchat.engine.tools import MAX_ARGUMENTS, ArgumentsInvalid

if TYPE_CHECKING:
    from pydantic import BaseModel

_REFUSED: Final[Mapping[Any, str]] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


class Signature:
    """The parameters of a function, as a model may fill them in.

    Raises
    ------
    TypeError
        If it has `*args`, `**kwargs` or parameters that are only positional, which JSON cannot express.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._parameters = inspect.signature(function).parameters
        for name, parameter in self._parameters.items():
            stars = _REFUSED.get(parameter.kind)
            if stars is not None:
                raise TypeError(f"a tool needs named parameters, and {stars}{name} is not one.")
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise TypeError(f"a tool is called by name, and {name!r} is positional only.")

    @cached_property
    def _model(self) -> type[BaseModel]:
        from pydantic import ConfigDict, Field, create_model  # noqa: PLC0415 - as the module states

        try:
            hints = self._hints()
        except Exception as error:
            raise TypeError(
                f"the annotations of {self._function.__name__!r} cannot be read: {error}"
            ) from error
        # Fields have names of their own, since pydantic refuses some that parameters may have.
        fields: dict[str, Any] = {}
        for number, (name, parameter) in enumerate(self._parameters.items()):
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[f"parameter_{number}"] = (hints.get(name, Any), Field(default, alias=name, title=""))
        return create_model(
            "Arguments",
            __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False, validate_default=False),
            **fields,
        )

    def _hints(self) -> dict[str, Any]:
        """Return the types of the parameters. That of the result is not needed, and may be unknown here."""
        function = inspect.unwrap(self._function)
        types = {name: kind for name, kind in function.__annotations__.items() if name != "return"}
        holder = type("Parameters", (), {"__annotations__": types})
        return get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)

    @cached_property
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of the arguments.

        Raises
        ------
        TypeError
            If an annotation cannot be expressed as a JSON schema.
        """
        try:
            schema = self._model.model_json_schema(by_alias=True)
        except TypeError:
            raise
        except Exception as error:
            raise TypeError(
                f"the parameters of {self._function.__name__!r} cannot be expressed as a JSON schema: {error}"
            ) from error
        cleaned = _without_titles(schema)
        return {"type": "object", "properties": {}, **cleaned}

    def arguments(self, text: str) -> dict[str, Any]:
        """Return validated arguments, by name.

        Raises
        ------
        ArgumentsInvalid
            If the text is not a JSON object that matches the signature.
        """
        value = json_object(text)
        from pydantic import ValidationError  # noqa: PLC0415 - as the module states

        try:
            # As JSON and not as Python values, so that texts of dates and numbers are accepted.
            filled = self._model.model_validate_json(json.dumps(value))
        except ValidationError as error:
            raise ArgumentsInvalid(_problems(error)) from None
        names = list(self._parameters)
        return {
            names[int(field.removeprefix("parameter_"))]: getattr(filled, field)
            for field in filled.model_fields_set
        }


def json_object(text: str) -> dict[str, Any]:
    """Return the arguments of a call, which are a JSON object.

    Raises
    ------
    ArgumentsInvalid
        If the text is too long, not a JSON object, or has a key twice.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_ARGUMENTS:
        raise ArgumentsInvalid(f"The arguments have {size:,} bytes; {MAX_ARGUMENTS:,} are allowed.")
    try:
        value = json.loads(text or "{}", object_pairs_hook=_unique)
    except ArgumentsInvalid:
        raise
    except (ValueError, RecursionError) as error:
        raise ArgumentsInvalid(f"The arguments are not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ArgumentsInvalid("The arguments must be a JSON object.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; refuse repeated keys, since the object could be shown differently than it is run."""
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise ArgumentsInvalid(f"The arguments have the key {key[:100]!r} twice.")
        value[key] = item
    return value


def _problems(error: Any) -> str:  # noqa: ANN401 - pydantic is not imported here
    """Return what is wrong with the arguments, at most five problems."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"- {'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}"[:300] for one in found[:5]]
    return "\n".join(["The arguments do not match the signature:", *lines])


def _without_titles(schema: Any, *, of_names: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    """Return a schema without the titles that pydantic derives from names."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_titles(value, of_names=key in ("properties", "$defs") and not of_names)
        for key, value in schema.items()
        if of_names or key != "title" or not isinstance(value, str)
    }
