"""Frozen dataclasses as JSON documents, checked field by field when they are read.

A program in a container gets its settings as one such document in the environment variable CSLR_SETTINGS. Fields may be
strings, numbers, booleans, paths, enums, literals, dataclasses, tuples, mappings from strings, unions of these with
None, and Any for JSON that the program passes on. A field without a default must be there, and no field may be there
that the class lacks: the writer and the reader are of one version of the code, so a difference is a fault.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import types
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

SETTINGS_VARIABLE = "CSLR_SETTINGS"

Json = Any  # what the json module reads and writes
T = TypeVar("T")


class DocumentError(ValueError):
    """A document does not fit its class; the message names the field."""


def dump(settings: object) -> str:
    """Return a dataclass as a JSON document."""
    return json.dumps(encode(settings), allow_nan=False)


def load(cls: type[T], text: str) -> T:
    """Return the dataclass that a document holds; raises DocumentError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter by thousands of brackets
        raise DocumentError(f"{cls.__name__} is not JSON: {error}") from None
    return decode(cls, found)


def load_settings(cls: type[T], environment: Mapping[str, str]) -> T:
    """Return a program's settings from its environment; raises DocumentError."""
    text = environment.get(SETTINGS_VARIABLE)
    if not text:
        raise DocumentError(f"{SETTINGS_VARIABLE} is not set; it holds {cls.__name__} as JSON")
    try:
        return load(cls, text)
    except DocumentError as error:
        raise DocumentError(f"{SETTINGS_VARIABLE}: {error}") from None


def encode(value: object) -> Json:
    """Return a value as the json module writes it."""
    if isinstance(value, enum.Enum):
        return encode(value.value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [encode(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): encode(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"a document cannot hold {value!r}")


def decode(cls: type[T], found: Json, name: str = "") -> T:
    """Return the dataclass that parsed JSON describes; raises DocumentError. `name` is the field that holds it."""
    here = name or cls.__name__
    if not isinstance(found, dict):
        raise _misfit(here, f"an object with the fields of {cls.__name__}", found)
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    if unknown := sorted(found.keys() - fields.keys()):
        raise DocumentError(f"{here}: unknown field {unknown[0]!r}; it has {', '.join(fields)}")
    for field in fields.values():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in found:
            raise DocumentError(f"{here}: missing field {field.name!r}")
    prefix = f"{name}." if name else ""
    return cls(**{key: _value(hints[key], value, f"{prefix}{key}") for key, value in found.items()})


def _value(kind: Any, found: Json, name: str) -> Any:  # noqa: ANN401 - of the type that `kind` says
    if kind is Any:
        return found
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _one_of(get_args(kind), found, name)
    if origin is Literal:
        return _member(get_args(kind), found, name)
    if origin is tuple:
        return _tuple(get_args(kind), found, name)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(get_args(kind)[1], found, name)
    if not isinstance(kind, type):
        raise TypeError(f"{name}: a document cannot hold {kind}")
    if dataclasses.is_dataclass(kind):
        return decode(kind, found, name)
    return _scalar(kind, found, name)


def _one_of(kinds: tuple[Any, ...], found: Json, name: str) -> Any:  # noqa: ANN401 - as _value
    if found is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    if len(others) != 1:
        raise TypeError(f"{name}: a document cannot hold a choice of several types")
    return _value(others[0], found, name)


def _member(members: tuple[Any, ...], found: Json, name: str) -> Any:  # noqa: ANN401 - as _value
    for member in members:
        if type(member) is type(found) and member == found:
            return member
    raise _misfit(name, f"one of {', '.join(map(repr, members))}", found)


def _tuple(kinds: tuple[Any, ...], found: Json, name: str) -> tuple[Any, ...]:
    if not isinstance(found, list):
        raise _misfit(name, "a list", found)
    if len(kinds) == 2 and kinds[1] is ...:
        kinds = (kinds[0],) * len(found)
    if len(kinds) != len(found):
        raise _misfit(name, f"a list of {len(kinds)}", found)
    return tuple(_value(kind, each, f"{name}[{i}]") for i, (kind, each) in enumerate(zip(kinds, found, strict=True)))


def _mapping(kind: Any, found: Json, name: str) -> dict[str, Any]:  # noqa: ANN401 - as _value
    if not isinstance(found, dict):
        raise _misfit(name, "an object", found)
    return {key: _value(kind, each, f"{name}[{key!r}]") for key, each in found.items()}


def _scalar(kind: type, found: Json, name: str) -> Any:  # noqa: ANN401 - as _value
    if issubclass(kind, enum.Enum):
        return kind(_member(tuple(member.value for member in kind), found, name))
    if issubclass(kind, PurePath) and isinstance(found, str):
        return kind(found)
    if kind is float and type(found) in (int, float):
        return _number(found, name)
    if type(found) is not kind:
        raise _misfit(name, _NAMES.get(kind, kind.__name__), found)
    return found


def _number(found: float, name: str) -> float:
    """JSON has integers that no float can hold, and Python's reader takes 1e999 and NaN."""
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _misfit(name, "a number that is finite", found)
    return number


_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false", types.NoneType: "null"}


def _misfit(name: str, wanted: str, found: Json) -> DocumentError:
    return DocumentError(f"{name} must be {wanted}, not {json.dumps(found)[:100]}")
