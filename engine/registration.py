"""A resource as the program registers it, and its inputs in a form that can be compared, stored and shown."""

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from pulumi.output import Unknown
from pulumi.runtime import rpc

SECRET = "[secret]"  # noqa: S105 (what is shown instead of one)
UNKNOWN = "[not known yet]"
MISSING = "[not set]"
WIDTH = 70


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One resource of the program. `inputs` are plain: secrets unwrapped, unknown values as `Unknown`."""

    urn: str
    type: str
    name: str
    inputs: dict[str, Any]
    recorded: dict[str, Any]  # the same, to be stored and shown: no secret, no value that is not known yet
    dependencies: tuple[str, ...]  # URNs
    retain_on_delete: bool


def plain(value: Any) -> Any:  # noqa: ANN401 (a property of a resource is any JSON value)
    """The value itself, without the wrapping of secrets."""
    if rpc.is_rpc_secret(value):
        return plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def recorded(value: Any) -> Any:  # noqa: ANN401
    """The value as it may be stored in a label and printed.

    A secret is only ever a digest of many rounds, so that a change of it is seen.
    """
    if rpc.is_rpc_secret(value):
        content = json.dumps(plain(value), sort_keys=True, default=str).encode()
        return f"{SECRET} {hashlib.scrypt(content, salt=b'cslr', n=2**14, r=8, p=1).hex()[:16]}"
    if isinstance(value, Unknown):
        return UNKNOWN
    if isinstance(value, dict):
        return {key: recorded(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [recorded(item) for item in value]
    # Numbers arrive as floats; 3.0 and 3 must not differ.
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
        if len(removed) == len(added) == 1:
            return _difference(key, removed[0], added[0])
        changes = [f"- {_short(_text(item))}" for item in removed] + [f"+ {_short(_text(item))}" for item in added]
        return [f"{key}: {change}" for change in changes] or [f"{key}: other order"]
    texts = [_text(before), _text(after)]
    same = len(os.path.commonprefix(texts))  # noqa: RUF071 (no paths)
    return [f"{key}: {' → '.join(_short(text, same) for text in texts)}"]


def _text(value: Any) -> str:  # noqa: ANN401
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return " ".join(text.split())


def _short(text: str, start: int = 0) -> str:
    """At most so much of a text as a line bears, around what begins at `start`."""
    begin = max(0, min(start - WIDTH // 4, len(text) - WIDTH))
    end = begin + WIDTH
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"
