"""The Compose specification's own JSON schema, from a package that carries it."""

import json
from importlib import resources
from typing import Any

import jsonschema  # type: ignore[import-untyped]

SCHEMA = json.loads(
    (resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8")
)


def check(file: dict[str, Any]) -> None:
    """Fails where a file is none that Compose knows."""
    jsonschema.validate(file, SCHEMA)
