"""A resource's inputs as they are stored, compared and shown."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi.output import UNKNOWN
from pulumi.runtime import rpc

from embedded_engine.registration import differences, plain, recorded

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def secret(value: object) -> dict[str, object]:
    """A secret as it arrives from the program."""
    return {rpc._special_sig_key: rpc._special_secret_sig, "value": value}


class TestPlain:
    def test_takes_the_wrapping_off_secrets_wherever_they_are(self):
        assert plain({"a": secret("x"), "b": [secret({"c": secret("y")})]}) == {"a": "x", "b": [{"c": "y"}]}

    @given(VALUES)
    def test_leaves_all_else_alone(self, value):
        assert plain(value) == value


class TestRecorded:
    def test_secret_is_a_digest(self):
        text = json.dumps(recorded({"env": secret("hunter22"), "list": [secret(["hunter22"])]}))
        assert "hunter22" not in text
        assert text.count("[secret] ") == 2

    def test_change_of_a_secret_is_seen(self):
        assert recorded(secret("one")) == recorded(secret("one"))
        assert recorded(secret("one")) != recorded(secret("two"))

    def test_unknown_value_is_said_to_be_unknown(self):
        assert recorded({"image": UNKNOWN}) == {"image": "[not known yet]"}

    def test_whole_numbers_are_whole(self):
        """They arrive as floats, and are stored as text."""
        assert json.dumps(recorded({"memory": 512.0, "cpus": 0.5})) == '{"cpus": 0.5, "memory": 512}'

    @given(VALUES)
    def test_survives_being_stored(self, value):
        stored = recorded({"input": value})
        assert json.loads(json.dumps(stored)) == stored
        assert differences(json.loads(json.dumps(stored)), recorded({"input": value})) == []


class TestDifferences:
    @pytest.mark.parametrize(
        ("before", "after", "lines"),
        [
            ({"memory": 512}, {"memory": 1024}, ["memory: 512 → 1024"]),
            ({}, {"user": "1000"}, ["user: [not set] → 1000"]),
            ({"user": "1000"}, {}, ["user: 1000 → [not set]"]),
            ({"a": 1, "b": 2}, {"b": 3, "a": 2}, ["a: 1 → 2", "b: 2 → 3"]),
            ({"build": {"args": {"X": "1"}}}, {"build": {"args": {"X": "2"}}}, ["build.args.X: 1 → 2"]),
            ({"envs": ["A=1", "B=2"]}, {"envs": ["A=1", "B=3"]}, ["envs: B=2 → B=3"]),
            ({"envs": ["A=1"]}, {"envs": ["A=1", "B=2", "C=3"]}, ["envs: + B=2", "envs: + C=3"]),
            ({"envs": ["A=1", "B=2"]}, {"envs": ["B=2"]}, ["envs: - A=1"]),
            ({"command": ["a", "b"]}, {"command": ["b", "a"]}, ["command: other order"]),
            ({"ports": [{"ip": "x"}]}, {"ports": [{"ip": "y"}]}, ["ports.ip: x → y"]),
        ],
    )
    def test_are_a_line_each(self, before, after, lines):
        assert differences(before, after) == lines

    def test_of_long_values_show_where_they_differ(self):
        (line,) = differences({"create": "x" * 500 + "before"}, {"create": "x" * 500 + "after"})
        assert len(line) < 170
        assert line.endswith("xafter")
        assert "xbefore →" in line

    def test_of_text_stay_on_their_line(self):
        assert differences({"create": "a\nb"}, {"create": "a\nc"}) == ["create: a b → a c"]

    @given(st.dictionaries(st.text(max_size=3), VALUES, max_size=3))
    def test_of_the_same_are_none(self, inputs):
        assert differences(inputs, inputs) == []

    @given(*[st.dictionaries(st.text(max_size=3), VALUES, max_size=3)] * 2)
    def test_are_none_only_of_the_same(self, before, after):
        assert (differences(before, after) == []) == (before == after)
