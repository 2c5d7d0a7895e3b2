"""The trial of faults: what counts as a loss, and in which order the faults come."""

import contextlib
import random
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from testing.chaos.trial import Trial
from testing.chaos.workload import Work


class Kept(Work):
    """Work whose service has what `found` says; None: it does not answer."""

    found: Mapping[str, str] | None = None

    def there(self) -> Mapping[str, str]:
        if self.found is None:
            raise ConnectionError("refused")
        return self.found


def trial(*works: Work, seed: str = "1") -> Trial:
    stack = SimpleNamespace(unhealthy=dict)
    faults = {name: lambda rig, draw: contextlib.nullcontext() for name in "abcdefgh"}
    return Trial(rig=SimpleNamespace(works=works, stack=stack), faults=faults, draw=random.Random(seed))  # type: ignore[arg-type]


def order(one: Trial) -> list[str]:
    """The names of sixteen faults that were recovered from."""
    return [outcome.name for outcome in (one.endure_next() for _ in range(16)) if outcome]


class TestLosses:
    @pytest.mark.parametrize(
        ("found", "lost"),
        [
            pytest.param({"file": "second"}, [], id="there"),
            pytest.param({"file": "third"}, [], id="a-later-one-whose-answer-was-lost"),
            pytest.param({"file": "first"}, ["file: 'first' instead of 'second'"], id="an-older-one"),
            pytest.param({}, ["file: 'is not there' instead of 'second'"], id="gone"),
            pytest.param(None, ["cannot be read: refused"], id="no-answer"),
        ],
    )
    def test_are_what_was_acknowledged_and_is_not_there(self, found, lost):
        work = Kept(name="notebook")
        work.found = found
        for content in ("first", "second"):
            work.tried["file"].append(content)
            work.acknowledge("file", content)
        work.tried["file"].append("third")
        assert trial(work).losses() == [f"notebook: {loss}" for loss in lost]
        assert work.pieces == 2


class TestOrder:
    def test_each_fault_comes_once_before_any_comes_again_and_a_seed_repeats_it(self):
        first, again, other = (order(trial(seed=seed)) for seed in ("1", "1", "2"))
        assert first == again != other
        assert sorted(first[:8]) == sorted(first[8:]) == list("abcdefgh")

    def test_fault_that_cannot_be_made_is_a_failure_and_the_next_follows(self):
        def broken(rig, draw):
            raise OSError("no such process")

        one = trial()
        one.faults = {"broken": broken}
        assert one.endure_next() is None
        assert one.failures == ["broken: no such process"]
