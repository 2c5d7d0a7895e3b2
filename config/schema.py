"""The JSON schema of stack files, generated from the models, for completion and errors while typing.

``python -m config.schema`` writes it. A test fails while the files are older than the models.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from config import matrix
from config.cluster import HOST_KEY, ClusterSettings
from config.cluster import KEY as CLUSTER_KEY
from config.keys import (
    ALERT_SECRETS,
    CLUSTER_KEY_SECRET,
    ENV_SECRETS,
    ENV_SECRETS_TEXT,
    HOST_ALONE,
    PREFLIGHT,
    SECRETS,
    WEBHOOKS,
)
from config.matrix import MatrixSettings
from config.platform import KEY, PlatformSettings
from config.project import FOLDER
from config.stack_file import WRITTEN_BY_PULUMI
from config.types import format_quantity

SCHEMA_FILE = FOLDER / "Pulumi.stack.schema.json"
CLUSTER_SCHEMA_FILE = FOLDER / "cluster.schema.json"

# Key → the model of its object. A stack has one of them.
KEYS: dict[str, type[BaseModel]] = {KEY: PlatformSettings, matrix.KEY: MatrixSettings}
CLUSTER = "The cluster of several hosts that this host belongs to: the name of the cluster file, or its content."
HOST = (
    "Which host of the cluster this is. Unset: the one with the stack's name, else the one with this machine's address."
)

Node = dict[str, Any]


def stack_schema() -> Node:
    """JSON schema of a whole ``Pulumi.<stack>.yaml``."""
    described: list[type[BaseModel]] = [*KEYS.values(), ClusterSettings]
    models: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in described]
    definitions = _tidy(models_json_schema(models)[1]["$defs"])
    secret = {"type": "object", "properties": {"secure": {"type": "string"}}, "required": ["secure"]}
    secrets = {key: {"description": f"{text} Unset: generated.", **secret} for key, text in SECRETS.items()}
    secrets |= {
        key: {"description": text, **secret} for key, text in (CLUSTER_KEY_SECRET | WEBHOOKS | ALERT_SECRETS).items()
    }
    secrets[ENV_SECRETS] = {"description": ENV_SECRETS_TEXT, "type": "object", "additionalProperties": secret}
    settings: Node = {key: {"$ref": f"#/$defs/{model.__name__}"} for key, model in KEYS.items()}
    block = {"$ref": f"#/$defs/{ClusterSettings.__name__}"}
    settings |= {
        CLUSTER_KEY: {"description": CLUSTER, "anyOf": [block, {"type": "string", "pattern": r"\.ya?ml$"}]},
        HOST_KEY: {"description": HOST, "type": "string"},
        **{key: {"description": text, "enum": [True, False, HOST_ALONE]} for key, text in PREFLIGHT.items()},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Stack file of the CSLR platform",
        "type": "object",
        "properties": {
            "config": {"type": "object", "properties": {**settings, **secrets}},
            "environment": {"description": "Pulumi ESC environments that the stack imports."},
            **{key: {"type": "string", "description": "Written by Pulumi."} for key in WRITTEN_BY_PULUMI},
        },
        "additionalProperties": False,
        "$defs": definitions,
    }


def cluster_schema() -> Node:
    """JSON schema of a file that holds a cluster's block."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$ref": f"{SCHEMA_FILE.name}#/$defs/{ClusterSettings.__name__}",
    }


def write() -> None:
    """Writes the schemas."""
    for file, text in contents().items():
        file.write_text(text, encoding="utf-8")


def contents() -> dict[Path, str]:
    """The text of each generated file."""
    schemas = {SCHEMA_FILE: stack_schema(), CLUSTER_SCHEMA_FILE: cluster_schema()}
    return {file: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for file, schema in schemas.items()}


def _tidy(node: Any) -> Any:  # noqa: ANN401 - any JSON
    """The schema without titles that only repeat a name, without defaults of whole sections, with sizes as written."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    properties = node.get("properties", {})
    for name, inner in properties.items():
        if inner.get("title") == name.replace("_", " ").title():
            del inner["title"]
        if "$ref" in inner:
            inner.pop("default", None)
        if inner.get("title") == "quantity":
            inner["default"] = format_quantity(inner["default"])
    if properties:
        node.pop("title", None)
    return {key: _tidy(inner) for key, inner in node.items()}


if __name__ == "__main__":
    write()
