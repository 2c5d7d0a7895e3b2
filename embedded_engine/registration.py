"""A resource as the program registers it, and its inputs in a form that can be compared, stored and shown."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from embedded_engine.differences import UNKNOWN, differences
from stack.pulumi_internals import Unknown, is_secret, plain

__all__ = ["UNKNOWN", "Registration", "differences", "plain", "recorded"]

SECRET = "[secret]"  # noqa: S105 (what is shown instead of one)


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
    owner: str = ""  # name of the component that it is part of


def recorded(value: Any) -> Any:  # noqa: ANN401 (a property of a resource is any JSON value)
    """The value as it may be stored in a label and printed.

    A secret is only ever a digest of many rounds, so that a change of it is seen.
    """
    if is_secret(value):
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
