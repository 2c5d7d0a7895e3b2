"""Documents: values survive a round trip, and errors name the field."""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.cluster_test import ClusterTestSettings
from contracts.document import SETTINGS_VARIABLE, DocumentError, dump, load, load_settings
from contracts.exporter import ExporterSettings
from contracts.firewall import FirewallSettings
from contracts.gateway import GatewaySettings
from contracts.health import HealthSettings
from contracts.keeper import KeeperSettings
from contracts.queue import QueueSettings
from contracts.ray_node import AgentSettings, GuardSettings, NodeSettings
from contracts.transcription import TranscriptionSettings


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    size: float
    colour: Colour = Colour.RED


@dataclass(frozen=True, kw_only=True)
class Whole:
    count: int
    parts: tuple[Part, ...]
    pair: tuple[str, int]
    spare: Part | None
    where: Path
    ports: Mapping[str, int]
    kind: Literal["a", "b"] = "a"
    on: bool = False
    note: str | None = None
    names: tuple[str, ...] = field(default_factory=tuple)


WHOLE = Whole(
    count=3,
    parts=(Part(name='é "x"', size=1.5), Part(name="", size=2.0, colour=Colour.BLUE)),
    pair=("x", 1),
    spare=Part(name="spare", size=0.0),
    where=Path("/run/secrets"),
    ports={"gcs": 6379},
    kind="b",
    on=True,
    note="n",
    names=("a", "b"),
)


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(dump(WHOLE)), **fields})


def refusal(text: str) -> str:
    with pytest.raises(DocumentError) as refused:
        load(Whole, text)
    return str(refused.value)


class TestRoundTrip:
    def test_every_kind_of_field_arrives_unchanged(self):
        assert load(Whole, dump(WHOLE)) == WHOLE

    def test_none_arrives_as_none(self):
        bare = Whole(count=0, parts=(), pair=("", 0), spare=None, where=Path("/"), ports={})
        assert load(Whole, dump(bare)) == bare

    def test_field_with_a_default_may_be_left_out(self):
        text = json.dumps({"name": "x", "size": 1})
        assert load(Part, text) == Part(name="x", size=1.0)

    def test_what_a_document_cannot_hold_is_not_written(self):
        with pytest.raises(TypeError, match="cannot hold"):
            dump(Part(name=b"x", size=1))  # type: ignore[arg-type]


class TestRefusal:
    def test_text_that_is_not_json(self):
        assert refusal("{").startswith("Whole is not JSON")
        assert refusal("[" * 100_000).startswith("Whole is not JSON")

    @pytest.mark.parametrize("text", ["[]", "null", '"x"'])
    def test_json_that_is_not_an_object(self, text: str):
        assert refusal(text) == f"Whole must be an object with the fields of Whole, not {text}"

    def test_unknown_field(self):
        assert refusal(changed(cuont=1)).startswith("Whole: unknown field 'cuont'; it has count, parts")

    def test_missing_field(self):
        assert refusal("{}") == "Whole: missing field 'count'"

    def test_missing_field_of_a_part_is_named_with_its_place(self):
        assert refusal(changed(parts=[{"name": "x", "size": 1}, {"name": "y"}])) == "parts[1]: missing field 'size'"

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"count": "3"}, 'count must be an integer, not "3"'),
            ({"count": True}, "count must be an integer, not true"),
            ({"count": None}, "count must be an integer, not null"),
            ({"on": 1}, "on must be true or false, not 1"),
            ({"note": 1}, "note must be a string, not 1"),
            ({"where": 1}, "where must be Path, not 1"),
            ({"kind": "c"}, "kind must be one of 'a', 'b', not \"c\""),
            ({"pair": ["x"]}, 'pair must be a list of 2, not ["x"]'),
            ({"parts": {}}, "parts must be a list, not {}"),
            ({"names": ["a", 1]}, "names[1] must be a string, not 1"),
            ({"ports": []}, "ports must be an object, not []"),
            ({"ports": {"gcs": "x"}}, "ports['gcs'] must be an integer, not \"x\""),
            ({"spare": {"name": "x", "size": "y"}}, 'spare.size must be a number, not "y"'),
            (
                {"spare": {"name": "x", "size": 1, "colour": "green"}},
                "spare.colour must be one of 'red', 'blue', not \"green\"",
            ),
        ],
    )
    def test_value_of_another_type(self, fields: dict[str, Any], message: str):
        assert refusal(changed(**fields)) == message

    def test_long_value_is_cut(self):
        assert len(refusal(changed(count="x" * 10_000))) < 200


class TestSettings:
    def test_settings_come_from_one_variable(self):
        part = Part(name="x", size=1.0)
        assert load_settings(Part, {SETTINGS_VARIABLE: dump(part), "OTHER": "y"}) == part

    @pytest.mark.parametrize("environment", [{}, {SETTINGS_VARIABLE: ""}])
    def test_missing_variable_is_named(self, environment: dict[str, str]):
        with pytest.raises(DocumentError, match="CSLR_SETTINGS is not set; it holds Part as JSON"):
            load_settings(Part, environment)

    def test_mistake_is_told_with_the_variable(self):
        with pytest.raises(DocumentError, match=r"CSLR_SETTINGS: Part: missing field 'name'"):
            load_settings(Part, {SETTINGS_VARIABLE: "{}"})


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "NaN", "1" + "0" * 400])
def test_a_number_that_is_not_finite_is_refused(number):
    with pytest.raises(DocumentError, match="size must be a number that is finite"):
        load(Part, f'{{"name": "a", "size": {number}}}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
SETTINGS = (
    AgentSettings, ClusterTestSettings, ExporterSettings, FirewallSettings, GatewaySettings, GuardSettings,
    HealthSettings, KeeperSettings, NodeSettings, QueueSettings, TranscriptionSettings,
)  # fmt: skip


@pytest.mark.parametrize("cls", SETTINGS)
@given(data=st.data())
@settings(max_examples=int(os.environ.get("INPUT_EXAMPLES", "40")))
def test_whatever_a_program_is_given_is_a_document_or_one_error(cls, data):
    """A program's environment: its own fields with any values, and others."""
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    fields = st.fixed_dictionaries({}, optional=dict.fromkeys(names, JSON))
    text = data.draw(st.text() | fields.map(json.dumps) | JSON.map(json.dumps))
    with suppress(DocumentError):
        load_settings(cls, {SETTINGS_VARIABLE: text})
