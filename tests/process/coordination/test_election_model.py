"""The election, explored exhaustively: whatever is lost, late, frozen or restarted, one head at most can write."""

from dataclasses import replace

import pytest

from coordination import election
from coordination.election import Phase, Timer
from coordination.lease import Grant
from testing.cluster import election_model
from testing.cluster.election_model import Bounds, Model, ViolationError
from testing.cluster.form import ROUNDS

TWO_HOSTS = (("alpha", "1"), ("beta", "1"))
THREE_HOSTS = (*TWO_HOSTS, ("gamma", "1"))
SAME_HOST = (("alpha", "1"), ("alpha", "2"))  # a later run while the former may still live, as if the lock had failed
SMALL = Bounds(agents=TWO_HOSTS, epochs=2, users=2, late=0, crashes=0)

EXPLORED: dict[str, Bounds] = {
    "late requests": replace(SMALL, late=1),
    "crashes, and stops": replace(SMALL, crashes=1),
    "a takeover on the same host": replace(SMALL, agents=SAME_HOST),
    "restarts of Redis, with and without its last write": replace(SMALL, restarts=1),
    "data lost while Redis runs": replace(SMALL, wipes=1),
    "a handover": replace(SMALL, orders=1),
}
EXPLORED_AT_LENGTH = {
    "two attempts in an epoch": replace(SMALL, users=3),
    "a takeover from a run that crashes": replace(SMALL, agents=SAME_HOST, crashes=1),
    "requests that are executed twice": replace(SMALL, late=1, twice=1),
    "three hosts": replace(SMALL, agents=THREE_HOSTS),
}
CHOSEN = EXPLORED | (EXPLORED_AT_LENGTH if ROUNDS >= 50 else {})  # minutes


@pytest.fixture(autouse=True)
def restart_once(monkeypatch):
    """A head that fails again and again brings nothing new."""
    monkeypatch.setattr(election, "BACKOFF_SECONDS", (0.0,))


class TestOneHeadAtMostCanWrite:
    @pytest.mark.parametrize("what", CHOSEN)
    def test_with(self, what, record_property):
        states = Model(CHOSEN[what]).explore()
        record_property("states", states)
        assert states > 10_000


def skip(monkeypatch: pytest.MonkeyPatch, phase: Phase, following: Phase) -> None:
    """Makes the election leave one of its steps out."""
    enter = election._Turn._enter
    monkeypatch.setattr(
        election._Turn, "_enter", lambda turn, wanted: enter(turn, following if wanted is phase else wanted)
    )


def start_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the election start the head as soon as it could verify the lease for it."""
    enter = election._Turn._enter

    def enter_or_start(turn: election._Turn, wanted: Phase) -> None:
        if wanted is not Phase.CONFIRM:
            enter(turn, wanted)
            return
        turn._set(phase=Phase.STARTING)
        assert turn.state.grant
        assert turn.state.user
        turn._do(election.StartHead(turn.state.grant, turn.state.user))

    monkeypatch.setattr(election._Turn, "_enter", enter_or_start)


class TestTheExplorationFinds:
    """Each of these mistakes, which leads to two heads or to one that should not be; else it would prove nothing."""

    def test_a_head_that_starts_without_a_verification_after_its_user_was_made(self, monkeypatch):
        start_unverified(monkeypatch)
        skip(monkeypatch, Phase.VERIFY, Phase.FENCE)
        with pytest.raises(ViolationError, match="never verified"):
            Model(SMALL).explore()

    def test_a_head_that_does_not_fence(self, monkeypatch):
        skip(monkeypatch, Phase.FENCE, Phase.CONFIRM)
        with pytest.raises(ViolationError, match="two heads can write"):
            Model(replace(SMALL, timers=(Timer.RETRY,))).explore()

    def test_a_user_that_is_made_twice_by_the_same_name(self):
        with pytest.raises(ViolationError, match="two heads can write"):
            Model(replace(SMALL, late=1, users=3, timers=(Timer.RETRY,)), fresh_names=False).explore()

    def test_a_takeover_in_the_same_epoch(self):
        with pytest.raises(ViolationError, match="was granted before"):
            Model(replace(SMALL, agents=SAME_HOST), new_epoch_on_takeover=False).explore()

    def test_a_fence_that_spares_users_of_lost_data(self, monkeypatch):
        def spares(grant: Grant, namespace: str, username: str) -> bool:
            return int(username.split("-")[2]) < grant.epoch

        monkeypatch.setattr(election_model, "is_fenced_by", spares)
        with pytest.raises(ViolationError, match="two heads can write"):
            Model(replace(SMALL, wipes=1, timers=(Timer.RETRY,))).explore()
