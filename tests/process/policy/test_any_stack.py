"""Whatever stack file is accepted, what is made of it keeps the rules of hardening.

INPUT_EXAMPLES=1000 tries more, and other ones each time.
"""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from embedded_engine.changes import ProgramError
from policy.check import violations
from policy.gate import REFUSAL
from tests.process.policy.settings_strategy import LEAVES, variations
from tests.unit.policy.stacks import STACKS

BASES = ("dev", "everything", "with TLS, open to other machines", "cluster, alpha")
EXAMPLES = int(os.environ.get("INPUT_EXAMPLES", "60"))


@pytest.mark.parametrize("base", BASES)
def test_it_keeps_every_rule(base, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no file here outlives its example, and a busy disk is slow

    # Shrinking would run the program for minutes.
    @settings(max_examples=max(1, EXAMPLES // len(BASES)), phases=(Phase.explicit, Phase.reuse, Phase.generate))
    @given(st.data())
    def keeps(data: st.DataObject) -> None:
        stack = data.draw(variations(STACKS[base]))
        with tempfile.TemporaryDirectory() as state:
            try:
                deployed, around = stack.deploy(Path(state))
            except ProgramError as error:  # what files of this host decide is refused by the program alone
                if REFUSAL in str(error):
                    raise
                return
            assert [violation.text for violation in violations(deployed.custom, around)] == []

    keeps()


def test_edits_reach_most_keys_of_a_stack_file():
    assert len({path for path, _ in LEAVES}) > 250
