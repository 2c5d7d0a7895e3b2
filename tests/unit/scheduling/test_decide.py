"""Decisions by example: each rule once, as a person would check it."""

import pytest

from scheduling.amounts import amounts
from scheduling.decide import decide
from scheduling.model import Backfill, Job, Limits, Plan, Policy, Priority, Reason, Running, Why
from tests.unit.scheduling.examples import HOUR, job, node, running, state, user

HARMLESS = Policy(backfill=Backfill.HARMLESS)
LIMITS = Policy(backfill=Backfill.LIMITS)


def started(plan: Plan) -> list[str]:
    return [start.job.id for start in plan.starts]


class TestTurn:
    def test_who_has_used_less_goes_first(self):
        users = user("anna", usage=2.0) | user("ben", usage=1.0)
        waiting = job("a", gpus=4, user="anna"), job("b", gpus=4, user="ben", submitted=1.0)
        assert started(decide(state(*waiting, users=users), Policy())) == ["b"]

    def test_usage_counts_for_each_share(self):
        users = user("anna", usage=3.0, shares=4.0) | user("ben", usage=1.0)
        waiting = job("a", gpus=4, user="anna", submitted=1.0), job("b", gpus=4, user="ben")
        assert started(decide(state(*waiting, users=users), Policy())) == ["a"]

    def test_free_gpus_are_dealt_out_in_turn(self):
        """Not all to whoever is first by a second."""
        waiting = [job(f"a{n}", gpus=1) for n in range(4)] + [job(f"b{n}", gpus=1, user="ben") for n in range(4)]
        assert sorted(started(decide(state(*waiting), Policy()))) == ["a0", "a1", "b0", "b1"]

    def test_higher_priority_goes_first(self):
        waiting = job("a", gpus=4), job("b", gpus=4, submitted=1.0, user="ben", priority="high")
        assert started(decide(state(*waiting), Policy())) == ["b"]

    def test_priority_that_the_config_no_longer_has_counts_as_the_lowest(self):
        waiting = job("a", gpus=4, priority="gone"), job("b", gpus=4, submitted=1.0, user="ben")
        assert started(decide(state(*waiting), Policy())) == ["b"]

    def test_first_in_line_stays_first_although_others_have_used_less(self):
        users = user("anna", usage=9.0)
        waiting = job("a", gpus=4), job("b", gpus=4, user="ben")
        told = state(*waiting, users=users, first_in_line="a")
        assert started(decide(told, Policy())) == ["a"]

    def test_user_without_a_turn_for_long_goes_before_higher_priorities_once(self):
        waiting = job("a1", gpus=4, priority="low"), job("a2", gpus=4), job("b", gpus=4, user="ben", priority="high")
        overdue = state(*waiting, now=8 * 24 * HOUR)
        assert started(decide(overdue, Policy())) == ["a2"], "within one user the rank decides"
        served = state(*waiting, now=8 * 24 * HOUR, users=user("anna", last_turn=7 * 24 * HOUR))
        assert started(decide(served, Policy())) == ["b"]


class TestGang:
    def test_parts_start_together_on_two_nodes(self):
        nodes = node("one"), node("two")
        plan = decide(state(job("a", gpus=4, count=2), nodes=nodes), Policy())
        assert plan.starts[0].nodes == ("one", "two")

    def test_no_part_starts_without_the_others(self):
        nodes = node("one"), node("two")
        held = (running(job("r", gpus=1), "one"),)
        plan = decide(state(job("a", gpus=4, count=2), nodes=nodes, held=held), Policy())
        assert not plan.starts
        assert plan.first_in_line == "a"

    def test_job_without_gpus_keeps_off_the_gpu_nodes(self):
        nodes = node("gpu"), node("later", gpus=0)
        assert decide(state(job("a", cpus=2), nodes=nodes), Policy()).starts[0].nodes == ("later",)

    def test_small_job_goes_where_least_is_left(self):
        nodes = node("one"), node("two")
        held = (running(job("r", gpus=2), "two"),)
        assert decide(state(job("a", gpus=1), nodes=nodes, held=held), Policy()).starts[0].nodes == ("two",)


class TestBackfill:
    """A job for four GPUs is first in line; jobs hold two, and two are free."""

    held = (running(job("r", gpus=2, time_limit=10 * HOUR), "one"),)
    front = job("front", gpus=4)

    def decided(self, other: Job, policy: Policy, held: tuple[Running, ...] = held) -> Plan:
        return decide(state(self.front, other, held=held, first_in_line="front", now=HOUR), policy)

    @pytest.mark.parametrize(
        ("policy", "limit", "starts"),
        [
            (LIMITS, 9 * HOUR, True),  # it ends when the first in line may start at the latest
            (LIMITS, 9 * HOUR + 1, False),
            (LIMITS, None, False),
            (HARMLESS, 60.0, False),  # the other may end within seconds
        ],
    )
    def test_gpus_that_the_first_in_line_needs(self, policy, limit, starts):
        plan = self.decided(job("b", gpus=1, user="ben", time_limit=limit), policy)
        assert started(plan) == (["b"] if starts else [])
        if not starts:
            assert plan.reasons["b"] == Reason(why=Why.WOULD_DELAY, ahead=1, by="front")

    @pytest.mark.parametrize("policy", [HARMLESS, LIMITS])
    def test_what_the_first_in_line_does_not_need_is_free_for_all(self, policy):
        assert started(self.decided(job("b", cpus=16, user="ben"), policy)) == ["b"]

    def test_without_backfill_nothing_starts(self):
        policy = Policy(backfill=Backfill.OFF)
        assert not self.decided(job("b", cpus=1, user="ben"), policy).starts

    @pytest.mark.parametrize("policy", [HARMLESS, LIMITS])
    def test_behind_a_job_without_a_time_limit_only_the_harmless_starts(self, policy):
        held = (running(job("r", gpus=2), "one"),)
        assert not self.decided(job("b", gpus=1, user="ben", time_limit=1.0), policy, held).starts
        assert self.decided(job("b", cpus=1, user="ben"), policy, held).starts

    def test_reason_of_the_first_names_the_job_without_a_time_limit(self):
        held = (running(job("r", gpus=2), "one"),)
        assert self.decided(job("b", gpus=1), LIMITS, held).reasons["front"] == Reason(why=Why.FIRST_IN_LINE, by="r")

    def test_reason_of_the_first_says_when_at_the_latest(self):
        reason = self.decided(job("b", gpus=1), LIMITS).reasons["front"]
        assert reason == Reason(why=Why.FIRST_IN_LINE, expected=10 * HOUR)

    def test_jobs_that_end_with_what_they_hold_leave_room(self):
        """The first in line needs 4 GPUs and 12 CPUs. Once the job with the GPUs ends, its CPUs are free too."""
        front = job("front", gpus=4, cpus=12)
        held = (running(job("r", gpus=4, cpus=8), "one"),)
        others = [job(f"b{n}", cpus=2, user="ben") for n in range(4)]
        plan = decide(state(front, *others, held=held, first_in_line="front"), HARMLESS)
        assert started(plan) == ["b0", "b1"], "12 of 16 CPUs are left for the first in line"


class TestLoan:
    held = (running(job("r", gpus=2), "one"),)
    front = job("front", gpus=4)

    def test_restartable_job_may_borrow(self):
        other = job("b", gpus=2, user="ben", restartable=True)
        plan = decide(state(self.front, other, held=self.held, first_in_line="front"), Policy())
        assert [(start.job.id, start.borrowed) for start in plan.starts] == [("b", True)]

    def test_borrower_stops_when_that_lets_the_first_in_line_start(self):
        borrower = running(job("b", gpus=2, user="ben", restartable=True), "one", borrowed=True)
        plan = decide(state(self.front, held=(borrower,)), Policy())
        assert [(stop.job.id, stop.for_job) for stop in plan.stops] == [("b", "front")]

    def test_borrower_goes_on_while_its_end_would_not_help(self):
        borrower = running(job("b", gpus=1, user="ben", restartable=True), "one", borrowed=True)
        assert not decide(state(self.front, held=(*self.held, borrower)), Policy()).stops

    def test_nobody_is_stopped_twice_nor_borrows_while_room_is_made(self):
        borrower = running(job("b", gpus=1, user="ben", restartable=True), "one", borrowed=True, stopping=True)
        other = job("c", gpus=1, user="chloe", restartable=True)
        plan = decide(state(self.front, other, held=(borrower,), first_in_line="front"), Policy())
        assert not plan.stops
        assert not plan.starts

    def test_no_more_are_stopped_than_needed(self):
        held = tuple(
            running(job(f"b{n}", gpus=n, restartable=True), "one", started=-float(n), borrowed=True) for n in (1, 3)
        )
        plan = decide(state(job("front", gpus=3, user="ben"), held=held), Policy())
        assert [stop.job.id for stop in plan.stops] == ["b3"]

    def test_those_that_are_being_stopped_are_enough(self):
        held = tuple(
            running(job(f"b{n}", gpus=1, restartable=True), "one", borrowed=True, stopping=n == 1) for n in (1, 2)
        )
        assert not decide(state(job("front", gpus=3, user="ben"), held=held), Policy()).stops

    def test_promise_to_the_first_in_line_does_not_wait_for_loans(self):
        held = (
            running(job("r", gpus=2, time_limit=HOUR), "one"),
            running(job("b", gpus=2, user="ben", restartable=True), "one", borrowed=True),
        )
        plan = decide(state(self.front, held=held, first_in_line="front"), Policy())
        assert plan.reasons["front"].expected == HOUR


class TestPreemption:
    policy = Policy(priorities={"low": Priority(rank=0), "urgent": Priority(rank=1, preempts=True)})
    urgent = job("u", gpus=4, user="ben", priority="urgent")

    def test_urgent_job_stops_restartable_ones_of_lower_rank(self):
        held = (running(job("r", gpus=4, restartable=True, priority="low"), "one"),)
        assert [stop.job.id for stop in decide(state(self.urgent, held=held), self.policy).stops] == ["r"]

    @pytest.mark.parametrize("other", [{"restartable": False}, {"restartable": True, "priority": "urgent"}])
    def test_it_stops_no_others(self, other):
        held = (running(job("r", gpus=4, **{"priority": "low", **other}), "one"),)
        assert not decide(state(self.urgent, held=held), self.policy).stops


class TestKeptBack:
    def test_limit_of_a_user_holds_back_their_jobs_and_nobody_elses(self):
        policy = Policy(limits=Limits(amounts=amounts(GPU=2)))
        waiting = *(job(f"a{n}", gpus=1) for n in range(3)), job("b", gpus=2, user="ben")
        plan = decide(state(*waiting), policy)
        assert sorted(started(plan)) == ["a0", "a1", "b"]
        assert plan.reasons["a2"] == Reason(why=Why.USER_LIMIT, by="GPU")
        assert plan.first_in_line is None

    def test_small_jobs_do_not_pass_a_large_one_of_the_same_user_within_a_limit(self):
        policy = Policy(limits=Limits(amounts=amounts(GPU=2)))
        held = (running(job("r", gpus=1), "one"),)
        waiting = job("large", gpus=2), job("small", gpus=1, submitted=1.0), job("cpus", cpus=1, submitted=2.0)
        plan = decide(state(*waiting, held=held), policy)
        assert started(plan) == ["cpus"]
        assert plan.reasons["small"] == Reason(why=Why.USER_LIMIT, by="large")

    def test_user_whose_job_is_first_in_line_keeps_a_place_for_it_within_the_limit(self):
        policy = Policy(limits=Limits(jobs=2))
        held = running(job("r", gpus=1), "one"), running(job("s", gpus=1, user="ben"), "one")
        waiting = job("front", gpus=4, user="anna"), job("cpus", cpus=1)
        plan = decide(state(*waiting, held=held, first_in_line="front"), policy)
        assert not plan.starts
        assert plan.reasons["cpus"] == Reason(why=Why.USER_LIMIT, by="front")

    @pytest.mark.parametrize(
        ("nodes", "why"),
        [
            ((node(gpus=2),), Why.TOO_LARGE),
            ((node(gpus=2), node("two", up=False)), Why.NODE_DOWN),
            ((node(gpus=2), node("two", taken=amounts(GPU=1))), Why.OUTSIDE),
        ],
    )
    def test_nothing_is_kept_for_a_job_that_no_end_of_others_would_help(self, nodes, why):
        plan = decide(state(job("a", gpus=4), job("b", gpus=2, user="ben"), nodes=nodes), Policy())
        assert plan.reasons["a"].why is why
        assert started(plan) == ["b"]
        assert plan.first_in_line is None
