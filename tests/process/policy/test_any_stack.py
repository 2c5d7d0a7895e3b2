"""Whatever stack file is accepted, what is made of it keeps the rules of hardening.

INPUT_EXAMPLES=1000 tries more, and other ones each time.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.check import violations
from tests.process.policy.settings_strategy import LEAVES, variations
from tests.unit.policy.stacks import STACKS

BASES = ("dev", "everything", "with TLS, open to other machines", "cluster, alpha")
EXAMPLES = int(os.environ.get("INPUT_EXAMPLES", "100"))


@pytest.mark.parametrize("base", BASES)
def test_it_keeps_every_rule(base, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no file here outlives its example, and a busy disk is slow

    @settings(max_examples=max(1, EXAMPLES // len(BASES)))
    @given(st.data())
    def keeps(data: st.DataObject) -> None:
        stack = data.draw(variations(STACKS[base]))
        with tempfile.TemporaryDirectory() as state:
            deployed, around = stack.deploy(Path(state))  # where the gate judges as well
            assert [violation.text for violation in violations(deployed.custom, around)] == []

    keeps()


def test_edits_reach_most_keys_of_a_stack_file():
    assert len({path for path, _ in LEAVES}) > 250
