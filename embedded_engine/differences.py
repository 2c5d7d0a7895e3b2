"""Describes the differences between two sets of a resource's inputs, in lines for people."""

import contextlib
import json
import os
from typing import Any

UNKNOWN = "[not known yet]"
MISSING = "[not set]"
WIDTH = 70


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed, one line an input, such as ``memory: 512 → 1024``."""
    return [
        line
        for key in sorted({*before, *after})
        if before.get(key, MISSING) != after.get(key, MISSING)
        for line in _difference(key, before.get(key, MISSING), after.get(key, MISSING))
    ]


def _difference(key: str, before: Any, after: Any) -> list[str]:  # noqa: ANN401
    if isinstance(before, dict) and isinstance(after, dict):
        return [f"{key}.{line}" for line in differences(before, after)]
    if isinstance(before, list) and isinstance(after, list):
        removed = [item for item in before if item not in after]
        added = [item for item in after if item not in before]
        old, new = _settings(removed), _settings(added)
        told = old.keys() & new.keys()
        lines = [f"{key}: {name}.{line}" for name in sorted(told) for line in differences(old[name], new[name])]
        removed, added = ([item for item in items if _name(item) not in told] for items in (removed, added))
        if len(removed) == len(added) == 1:
            return lines + _difference(key, removed[0], added[0])
        changes = [f"- {_short(_text(item))}" for item in removed] + [f"+ {_short(_text(item))}" for item in added]
        return lines + [f"{key}: {change}" for change in changes] or [f"{key}: other order"]
    texts = [_text(before), _text(after)]
    same = len(os.path.commonprefix(texts))  # noqa: RUF071 (no paths)
    return [f"{key}: {' → '.join(_short(text, same) for text in texts)}"]


def _settings(items: list[Any]) -> dict[str, dict[str, Any]]:
    """The environment variables that hold a JSON object, as a program's settings do: name → object."""
    found = {}
    for item in items:
        if isinstance(item, str) and "={" in item:
            with contextlib.suppress(ValueError):
                found[_name(item)] = json.loads(item.partition("=")[2])
    return found


def _name(item: object) -> str:
    return item.partition("=")[0] if isinstance(item, str) else ""


def _text(value: Any) -> str:  # noqa: ANN401
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return " ".join(text.split())


def _short(text: str, start: int = 0) -> str:
    """The part of a text around `start` that fits on a line."""
    begin = max(0, min(start - WIDTH // 4, len(text) - WIDTH))
    end = begin + WIDTH
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
