"""Accepted stack settings, for Hypothesis: a known stack with edits, each kept only if the result is accepted."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from config.platform import PlatformSettings
from config.problems import SettingsError
from tests.unit.policy.stacks import Stack

Key = tuple[str, ...]
Schema = dict[str, Any]

SCHEMA = PlatformSettings.model_json_schema()
FEWEST_EDITS, MOST_EDITS = 6, 24
NAMES = ("ann", "phoenix")  # of people, datasets, channels: whatever a mapping is keyed by
# What keys of text may mean somewhere; where it means nothing, the edit is dropped.
WORDS = (
    *("0.0.0.0", "::", "192.168.1.10", "10.9.0.0/16", "fd00:9::/64", "lab-net", "gpuhost.example.org", "1234:1234"),
    *("64m", "2g", "16g", "90%", "1d", "2h", "0", "1.5", "1/2", "all", "nfs"),
    *("/srv/data", "/srv/other", "s3://bucket/lab", "https://mirror.example.org/simple", "ssh-ed25519 AAAAC3Nza ann"),
    *("registry.example.org/lab/image:1", "transformers>=5", "ffmpeg", "ann@example.org", "TOKEN"),
)
NUMBERS = st.one_of(st.integers(0, 20), st.integers(1024, 65535), st.sampled_from([0.5, 2.5]))


def leaves(schema: Schema, here: Key = ()) -> Iterator[tuple[Key, Schema]]:
    """Every key that holds a value, and the schema of the value. Keys of mappings get a name."""
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    for choice in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from leaves(choice, here)
    for key, value in schema.get("properties", {}).items():
        yield from leaves(value, (*here, key))
    if isinstance(values := schema.get("additionalProperties"), dict):
        for name in NAMES:
            yield from leaves(values, (*here, name))
    if schema.get("type") not in (None, "object"):
        yield here, schema


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values of about that kind."""
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer" | "number":
            return NUMBERS
        case "array":
            item = schema.get("items", {})
            while "$ref" in item:
                item = SCHEMA["$defs"][item["$ref"].rpartition("/")[2]]
            if "properties" in item:
                return st.just([{"source": "/srv/volume", "target": "/srv/there"}])
            return st.lists(values(item) if "type" in item else st.sampled_from(WORDS), max_size=2)
        case "null":
            return st.none()
    return st.sampled_from(WORDS)


LEAVES = list(leaves(SCHEMA))
EDIT = st.sampled_from(LEAVES).flatmap(lambda leaf: st.tuples(st.just(leaf[0]), values(leaf[1])))


def edited(settings: dict[str, Any], path: Key, value: Any) -> dict[str, Any]:
    """A copy of the settings with another value."""
    whole = copy.deepcopy(settings)
    node = whole
    for step in path[:-1]:
        inner = node.get(step)
        node[step] = node = inner if isinstance(inner, dict) else {}
    node[path[-1]] = value
    return whole


def accepted(stack: Stack) -> bool:
    """Whether the stack file is accepted, as far as it can be without the host."""
    try:
        stack.surroundings()
    except SettingsError:
        return False
    return True


@st.composite
def variations(draw: st.DrawFn, stack: Stack) -> Stack:
    """The stack, and what edits of its file make of it."""
    assert accepted(stack)
    for path, value in draw(st.lists(EDIT, min_size=FEWEST_EDITS, max_size=MOST_EDITS)):
        changed = replace(stack, settings=edited(stack.settings, path, value))
        if accepted(changed):
            stack = changed
    return stack
