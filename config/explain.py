"""Translates pydantic's errors into the terms of stack config."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from config.problems import (
    MOST_PROBLEMS,
    Path,
    Problem,
    Remove,
    Set,
    SettingsError,
    closest,
    did_you_mean,
    dotted,
    show,
)
from config.types import REFUSED, format_quantity

# Error type → what the value must be. The ctx of the error fills the braces.
REASONS: Mapping[str, str] = {
    "model_type": "must be a mapping: keys and values, indented below it",
    "dict_type": "must be a mapping: names and values, indented below it",
    "tuple_type": "must be a list",
    "bool_type": "must be true or false, without quotes",
    "string_type": "must be text; put it in quotes if it looks like a number",
    "string_unicode": "must be text that can be printed",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    REFUSED: "{reason}",
}


def explained(error: ValidationError, model: type[BaseModel], file: str, key: str) -> SettingsError:
    """The problems that ``model`` found in a file below a key: at most as many as one message shows."""
    problems = explain(error, model)
    return SettingsError(problems, file, key, more=error.error_count() - len(problems))


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """One problem for each error that ``model`` found, at most as many as one message shows."""
    return [_explain_one(detail, model) for detail in error.errors(include_url=False)[:MOST_PROBLEMS]]


def submodel(annotation: object) -> type[BaseModel] | None:
    """The model that a field holds, alone or as the items of a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := submodel(inner))), None)


def keys(model: type[BaseModel], below: Path = ()) -> Iterator[Path]:
    """The path of every key below ``model``, models' own keys included; those of list items are left out."""
    for name, field in model.model_fields.items():
        yield (*below, name)
        if (inner := submodel(field.annotation)) and not get_args(field.annotation):
            yield from keys(inner, (*below, name))


def _explain_one(detail: ErrorDetails, model: type[BaseModel]) -> Problem:
    path = detail["loc"]
    value, context = detail["input"], detail.get("ctx", {})
    special = SPECIAL.get(detail["type"])
    if special:
        return special(path, model)
    reason = REASONS.get(detail["type"], detail["msg"]).format_map(context)
    if isinstance(value, str | int | float):
        reason = f"{show(value)} {reason}"
    elif reason.startswith("must"):
        reason = f"{reason}, not {show(value)}"
    if path[-1:] == ("[key]",) and _model_at(path[:-2], model) is None:  # pydantic's mark of a name in a mapping
        return Problem(path[:-1], reason, "Rename it, or remove it:", (Remove(path[:-1]),))
    if not path:
        needed = ", ".join(name for name, field in model.model_fields.items() if field.is_required())
        empty = "An empty object is valid and gives every key its default."
        return Problem(path, reason, f"It needs the keys {needed}." if needed else empty)
    if (meant := _meant(detail)) is not None:
        return Problem(path, reason, "What is probably meant:", (Set(path, meant),))
    example = context.get("example")
    if example is None:
        example = _default(path, model)
    if isinstance(example, str | int | float):
        return Problem(path, reason, "For example:", (Set(path, example),))
    return Problem(path, reason, "Correct it, or remove the key:", (Remove(path),))


def _meant(detail: ErrorDetails) -> object:
    """The likely meaning of a value in another program's notation; None if that is unclear."""
    value, kind, path = detail["input"], detail["type"], detail["loc"]
    if not isinstance(value, str) or not value:
        return None
    if kind == "tuple_type":
        return [word.strip() for word in value.split(",")]
    if kind in ("model_type", "model_attributes_type") and path[-1] == "image":
        return {"source": "pull", "reference": value}
    if kind in ("model_type", "model_attributes_type") and "volumes" in path and value.count(":") in (1, 2):
        source, target, *mode = value.split(":")
        return {"source": source, "target": target, **({"read_only": True} if mode == ["ro"] else {})}
    return None


def _unknown_key(path: Path, model: type[BaseModel]) -> Problem:
    word, siblings = str(path[-1]), list((_model_at(path[:-1], model) or model).model_fields)
    name, colon, value = word.partition(":")
    if colon and name in siblings:
        advice = f"Write a space behind the colon (`{name}: {value[:60]}`), or remove it:"
        return Problem(path, "unknown key", advice, (Remove(path),))
    if not closest(word, siblings):
        elsewhere = next((key for key in keys(model) if key[-1] == word), None)
        if elsewhere:
            return Problem(path, "unknown key", f"Did you mean {dotted(elsewhere)}?", (Remove(path),))
    return Problem(path, "unknown key", did_you_mean(word, siblings), (Remove(path),))


def _unprintable_key(path: Path, _: type[BaseModel]) -> Problem:
    return Problem(path, "the name of a key must be text", "Put it in quotes if it looks like a number or a date.")


def _missing_key(path: Path, model: type[BaseModel]) -> Problem:
    holder = _model_at(path[:-1], model)
    examples = (holder.model_fields[str(path[-1])].examples if holder else None) or ()
    advice = f"Give {dotted(path[:-1])} the key {path[-1]}" if path[1:] else f"Add the key {path[-1]}"
    commands = tuple(Set(path, example) for example in examples)
    return Problem(path, "is missing, and has no default", f"{advice}{', for example:' if commands else '.'}", commands)


SPECIAL: Mapping[str, Callable[[Path, type[BaseModel]], Problem]] = {
    "extra_forbidden": _unknown_key,
    "invalid_key": _unprintable_key,
    "missing": _missing_key,
}


def _model_at(path: Path, model: type[BaseModel]) -> type[BaseModel] | None:
    """The model that holds the keys below ``path``; None below a plain mapping or value, and at a mapping of models."""
    found: type[BaseModel] | None = model
    entries: type[BaseModel] | None = None  # of the mapping that the path has come to
    for step in path:
        if entries:
            found, entries = entries, None
        elif isinstance(step, str):
            field = found.model_fields.get(step) if found else None
            found = submodel(field.annotation) if field else None
            if field and get_origin(field.annotation) is dict:
                found, entries = None, found
    return found


def _default(path: Path, model: type[BaseModel]) -> Any:  # noqa: ANN401 - whatever the key holds
    """The default of the key at ``path``; None for an entry of a list or a mapping."""
    holder, name = _model_at(path[:-1], model), path[-1]
    field = holder.model_fields.get(name) if holder and isinstance(name, str) else None
    if field is None or field.default is PydanticUndefined:
        return None
    return format_quantity(field.default) if name == "memory" else field.default
