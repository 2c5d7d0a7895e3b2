"""The election's state machine, event by event.

That it is safe in any order: tests/process/coordination/test_election_model.py.
"""

from dataclasses import replace

import pytest

from coordination import election
from coordination.election import (
    AgentState,
    Answered,
    Arm,
    Begin,
    Call,
    ElectionConfig,
    Exit,
    Expired,
    Failed,
    HeadEnded,
    HeadServes,
    KillHead,
    Operation,
    Phase,
    PortClosed,
    Say,
    StartHead,
    StopRequested,
    Timer,
    WatchPort,
    Woken,
)
from coordination.lease import RETRY_SECONDS, Credentials, Grant, Refusal, Renewal, View
from coordination.redis_client import Address

CONFIG = ElectionConfig("beta", ("alpha", "beta", "gamma"))
GRANT = Grant("beta", "i", 7, "a" * 16)
USER = Credentials("ray-x-7-y", "secret")
GCS = Address("10.0.0.1", 6385)
HELD = Renewal(held=True, holder="beta")
LOST = Renewal(held=False, holder="alpha")


def view(host: str = "alpha", remaining: float = 5.0) -> View:
    return View(6, host, "j", "a" * 16, GCS, None, None, True, remaining)


class Agent:
    """Takes events, and keeps what was done upon them."""

    def __init__(self, config: ElectionConfig = CONFIG) -> None:
        self.config = config
        self.state = AgentState()
        self.done: list[election.Action] = []

    def take(self, *events: election.Event) -> "Agent":
        for event in events:
            self.state, actions = election.step(self.config, self.state, event)
            self.done = list(actions)
        return self

    def calls(self) -> list[Operation]:
        return [action.operation for action in self.done if isinstance(action, Call)]

    def said(self) -> str:
        return " ".join(action.text for action in self.done if isinstance(action, Say))

    def wait(self, timer: Timer) -> float:
        return next(action.seconds for action in self.done if isinstance(action, Arm) and action.timer is timer)


def elected(config: ElectionConfig = CONFIG) -> Agent:
    """Has just been granted the lease of a leader that was seen before."""
    agent = Agent(config).take(Begin(), Answered(view(remaining=0.1)), Expired(Timer.RETRY), Answered(None))
    assert agent.calls() == [Operation.ACQUIRE]
    return agent.take(Answered(GRANT))


def starting(config: ElectionConfig = CONFIG) -> Agent:
    return elected(config).take(Answered(USER), Answered(HELD), Answered(1), PortClosed(), Answered(HELD))


def leading(config: ElectionConfig = CONFIG) -> Agent:
    return starting(config).take(HeadServes(), Answered(True))


class TestStandby:
    def test_it_waits_for_the_end_of_the_lease_and_for_those_before_it(self):
        first, second = (
            Agent(ElectionConfig("beta", ("alpha", "beta", "gamma"))),
            Agent(ElectionConfig("gamma", ("alpha", "beta", "gamma"))),
        )
        waits = [agent.take(Begin(), Answered(view(remaining=1.0))).wait(Timer.RETRY) for agent in (first, second)]
        assert waits == [pytest.approx(1.02), pytest.approx(1.02 + election.RANK_SECONDS)]
        assert second.take(Expired(Timer.RETRY), Answered(None)).calls() == [Operation.ACQUIRE]

    def test_it_looks_again_soon_where_the_lease_is_long(self):
        assert Agent().take(Begin(), Answered(view())).wait(Timer.RETRY) == election.LOOK_SECONDS

    def test_where_nobody_led_yet_the_first_of_the_whitelist_asks_first(self):
        assert Agent(ElectionConfig("alpha", ("alpha", "beta"))).take(Begin(), Answered(None)).calls() == [
            Operation.ACQUIRE
        ]
        second = Agent(ElectionConfig("beta", ("alpha", "beta"))).take(Begin(), Answered(None))
        assert second.calls() == []
        assert second.wait(Timer.RETRY) == election.RANK_SECONDS
        assert second.take(Expired(Timer.RETRY), Answered(None)).calls() == [Operation.ACQUIRE]

    def test_it_takes_the_lease_of_its_own_former_run_at_once(self):
        assert Agent().take(Begin(), Answered(view("beta"))).calls() == [Operation.ACQUIRE]

    def test_one_that_led_last_itself_waits_for_those_before_it_as_well(self):
        agent = Agent().take(Begin(), Answered(view("beta")), Answered(Refusal("-", 1.0)), Expired(Timer.RETRY))
        assert agent.take(Answered(None)).wait(Timer.RETRY) == election.RANK_SECONDS

    def test_an_event_wakes_it(self):
        assert Agent().take(Begin(), Answered(view()), Woken()).calls() == [Operation.LOOK]

    def test_it_says_once_why_it_starts_nothing(self):
        agent = Agent().take(Begin(), Answered(view("beta")), Answered(Refusal("this host is in maintenance", 5.0)))
        assert agent.said() == "no head is started here: this host is in maintenance"
        agent.take(Expired(Timer.RETRY), Answered(view("beta")), Answered(Refusal("this host is in maintenance", 4.0)))
        assert agent.said() == ""
        agent.take(Expired(Timer.RETRY), Failed("timed out"))
        assert "Redis does not answer (timed out)" in agent.said()


class TestPromotion:
    def test_the_steps_come_in_their_order(self):
        agent = elected()
        assert agent.calls() == [Operation.CREATE_USER]
        assert agent.take(Answered(USER)).calls() == [Operation.RENEW]
        assert agent.take(Answered(HELD)).done[-1] == Call(Operation.FENCE, GRANT, user=USER.username)
        assert WatchPort(GCS) in agent.take(Answered(2)).done
        assert agent.take(PortClosed()).calls() == [Operation.RENEW]
        assert StartHead(GRANT, USER) in agent.take(Answered(HELD)).done
        assert agent.take(HeadServes()).calls() == [Operation.ANNOUNCE]
        assert agent.take(Answered(True)).state.phase is Phase.LEADING

    def test_a_former_head_that_does_not_end_is_waited_for_only_so_long(self):
        agent = elected().take(Answered(USER), Answered(HELD), Answered(1))
        assert agent.wait(Timer.PORT) == election.PORT_SECONDS
        assert agent.take(Expired(Timer.PORT)).calls() == [Operation.RENEW]

    def test_the_lease_is_renewed_while_it_waits(self):
        agent = elected().take(Answered(USER), Answered(HELD), Answered(1))
        assert agent.take(Expired(Timer.RENEW)).calls() == [Operation.RENEW]
        assert agent.take(Answered(HELD)).state.phase is Phase.PORT

    @pytest.mark.parametrize("steps", [(Answered(USER),), (Answered(USER), Answered(HELD), Answered(1), PortClosed())])
    def test_nothing_is_started_when_a_verification_says_no(self, steps):
        agent = elected().take(*steps, Answered(LOST))
        assert agent.state.phase is Phase.STANDBY
        assert not [action for action in agent.done if isinstance(action, StartHead)]

    def test_an_attempt_whose_fate_is_unknown_is_never_used(self):
        agent = elected().take(Failed("timed out"), Expired(Timer.RETRY))
        assert agent.calls() == [Operation.CREATE_USER]
        other = Credentials("ray-x-7-z", "other")
        agent.take(Answered(other), Answered(HELD), Answered(1), PortClosed(), Answered(HELD))
        assert StartHead(GRANT, other) in agent.done


class TestLeader:
    def test_it_renews_and_notices_at_once_when_the_lease_is_lost(self):
        agent = leading().take(Expired(Timer.RENEW))
        assert agent.calls() == [Operation.RENEW]
        assert election.ArmDeadline() in agent.take(Answered(HELD)).done
        agent.take(Expired(Timer.RENEW), Answered(LOST))
        assert agent.done[0] == KillHead()
        assert "lost to alpha" in agent.said()

    def test_at_the_deadline_the_head_is_killed_before_anything_else(self):
        agent = leading().take(Expired(Timer.RENEW), Expired(Timer.DEADLINE))
        assert agent.done[0] == KillHead()
        assert agent.state.phase is Phase.STANDBY
        assert agent.take(Answered(HELD)).calls() == [Operation.LOOK]  # the answer comes too late

    def test_a_failed_renewal_is_repeated_soon(self):
        agent = leading().take(Expired(Timer.RENEW), Failed("timed out"))
        assert agent.wait(Timer.RETRY) < RETRY_SECONDS
        assert agent.take(Expired(Timer.RETRY)).calls() == [Operation.RENEW]

    def test_its_head_is_started_again_in_the_same_epoch_with_another_user(self):
        agent = leading().take(HeadEnded("exit code -9"))
        assert KillHead() in agent.done
        assert agent.calls() == [Operation.RETRACT]
        assert agent.take(Answered(True)).done[-1] == Call(Operation.CREATE_USER, GRANT)
        agent.take(Answered(Credentials("ray-x-7-z", "-")), Answered(HELD), Answered(1), Answered(HELD))
        assert agent.state.phase is Phase.STARTING

    def test_a_head_that_ends_again_and_again_is_given_up(self):
        agent = leading()
        for pause in election.BACKOFF_SECONDS:
            agent.take(HeadEnded("-"), Answered(True))
            if pause:
                assert agent.wait(Timer.PAUSE) == pause
                agent.take(Expired(Timer.PAUSE))
            agent.take(Answered(USER), Answered(HELD), Answered(1), Answered(HELD))
            assert agent.state.phase is Phase.STARTING
        agent.take(HeadEnded("-"), Answered(1))
        assert agent.done[-1] == Call(Operation.RELEASE, GRANT, reason="failed", hold_down=election.FAILED_HOLD_SECONDS)

    def test_one_that_served_for_long_begins_anew(self):
        agent = leading().take(
            HeadEnded("-"), Answered(True), Answered(USER), Answered(HELD), Answered(1), Answered(HELD)
        )
        agent.take(HeadServes(), Answered(True))
        assert agent.state.failures == 1
        assert agent.take(Expired(Timer.STABLE)).state.failures == 0

    def test_a_head_that_never_serves_counts_as_ended(self):
        agent = starting()
        assert agent.wait(Timer.START) == election.START_SECONDS
        assert agent.take(Expired(Timer.START)).calls() == [Operation.RETRACT]

    def test_an_announcement_that_ends_with_the_head_does_not_make_it_ready(self):
        agent = starting().take(HeadServes(), HeadEnded("-"), Answered(True))
        assert agent.calls() == [Operation.RETRACT]


class TestGivingWay:
    @pytest.mark.parametrize(
        ("renewal", "reason", "hold_down"),
        [
            (replace(HELD, handover="alpha"), "handover", 0.0),
            (replace(HELD, handover="*"), "handover", election.MOVED_HOLD_SECONDS),
            (replace(HELD, maintenance=True), "maintenance", 0.0),
        ],
    )
    def test_head_then_user_then_lease_end(self, renewal, reason, hold_down):
        agent = leading().take(Woken(), Answered(renewal))
        assert agent.done.index(KillHead()) < agent.done.index(Call(Operation.REVOKE, GRANT))
        assert agent.take(Answered(1)).done == [Call(Operation.RELEASE, GRANT, reason=reason, hold_down=hold_down)]
        assert agent.take(Answered(True)).state == replace(agent.state, phase=Phase.STANDBY, grant=None)

    def test_most_hosts_cannot_reach_the_head_and_another_could_lead(self):
        gray = Answered(replace(HELD, blind=2, fresh=3, others=1))
        agent = leading().take(Expired(Timer.RENEW), gray)
        assert agent.state.phase is Phase.LEADING  # one glance is not enough
        agent.take(Expired(Timer.RENEW), gray)
        assert KillHead() in agent.done
        assert "2 of 3 hosts cannot reach the head" in agent.said()

    @pytest.mark.parametrize("renewal", [
        replace(HELD, blind=1, fresh=2, others=1),
        replace(HELD, blind=2, fresh=3, others=0),
        replace(HELD, blind=1, fresh=3, others=1),
    ])  # fmt: skip
    def test_not_where_it_is_half_of_them_or_nobody_else_could(self, renewal):
        agent = leading()
        for _ in range(5):
            agent.take(Expired(Timer.RENEW), Answered(renewal))
        assert agent.state.phase is Phase.LEADING

    def test_nor_where_it_does_not_last(self):
        gray, fine = replace(HELD, blind=2, fresh=3, others=1), replace(HELD, fresh=3, others=1)
        agent = leading()
        for renewal in (gray, fine, gray, fine):
            agent.take(Expired(Timer.RENEW), Answered(renewal))
        assert agent.state.phase is Phase.LEADING

    def test_without_redis_the_lease_ends_by_itself(self):
        agent = leading().take(Woken(), Answered(replace(HELD, handover="*")), Failed("timed out"))
        assert agent.state.phase is Phase.STANDBY


class TestStop:
    def test_a_standby_ends_at_once(self):
        assert Exit() in Agent().take(Begin(), Answered(view()), StopRequested()).done

    def test_a_leader_kills_its_head_and_releases_first(self):
        agent = leading().take(StopRequested())
        assert agent.done[0] == KillHead()
        assert agent.take(Answered(1)).calls() == [Operation.RELEASE]
        assert Exit() in agent.take(Answered(True)).done

    def test_a_lease_that_comes_too_late_is_given_back(self):
        agent = Agent(ElectionConfig("beta", ("beta",))).take(Begin(), Answered(None), StopRequested())
        assert agent.done == []
        assert agent.take(Answered(GRANT)).calls() == [Operation.REVOKE]

    def test_without_redis_it_ends_all_the_same(self):
        assert Exit() in leading().take(StopRequested(), Failed("timed out")).done
