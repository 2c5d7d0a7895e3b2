"""Reads values that a stack file holds as JSON: as deep as YAML may be, and of text that can be printed."""

import json
from typing import Any

from config.yaml_file import DEEPEST


def parse_json(text: str) -> Any:  # noqa: ANN401
    """The value of a text.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has half a surrogate pair, which no file can hold.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check(value)
    return value


def _check(value: object, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check(item, depth + 1)
