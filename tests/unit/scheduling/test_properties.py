"""What holds in every cluster, with every policy and whatever jobs come: by Hypothesis, over whole simulations."""

import random
from collections import Counter
from dataclasses import replace
from itertools import count, cycle

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from scheduling.amounts import amounts, fits, minus, plus
from scheduling.decide import decide
from scheduling.limits import NONE, exceeded, held_by_user
from scheduling.model import Backfill, Job, Limits, Node, Plan, Policy, Request, State, User, Why
from testing.queue_simulation import Simulation, Work, simulated
from tests.unit.scheduling.states import USERS, clusters, policies, states, works

DAY = 24 * 3600.0
PLENTY = 10**6


def held_after(state: State, plan: Plan) -> dict[str, dict[str, int]]:
    """What each node gives, once the plan's jobs have started and before any has stopped."""
    held: dict[str, dict[str, int]] = {node.name: {} for node in state.nodes}
    placed = [(run.job, run.nodes) for run in state.running] + [(start.job, start.nodes) for start in plan.starts]
    for job, nodes in placed:
        assert len(nodes) == job.request.count, "a gang has a place for each part"
        for node in nodes:
            held[node] = plus(held[node], job.request.each)
    return held


def check_plan(state: State, plan: Plan, policy: Policy) -> None:
    """What holds for each single decision."""
    given = held_after(state, plan)
    for node in state.nodes:
        assert fits(given[node.name], minus(node.capacity, node.taken)), f"{node.name} gives more than it has"
        assert node.up or not any(node.name in start.nodes for start in plan.starts)
    waiting = {job.id for job in state.waiting}
    started = [start.job.id for start in plan.starts]
    assert len(set(started)) == len(started)
    assert set(started) <= waiting
    assert set(plan.reasons) <= waiting - set(started)
    held = held_by_user(state.running)
    for start in plan.starts:
        assert not exceeded(policy.limits, held.get(start.job.user, NONE), start.job.request)
        held[start.job.user] = held.get(start.job.user, NONE).with_request(start.job.request)
    assert not any(start.backfill for start in plan.starts) or plan.first_in_line
    for stop in plan.stops:
        assert stop.job.restartable
        assert stop.for_job == plan.first_in_line


class TestEveryDecision:
    @given(data=st.data(), policy=policies())
    @settings(max_examples=150)
    def test_nothing_is_given_twice_and_gangs_are_whole(self, data, policy):
        simulation = Simulation(nodes=data.draw(clusters()), policy=policy, scheduler=decide)
        simulation.watch = lambda state, plan: check_plan(state, plan, policy)
        simulation.submit(data.draw(works()))
        simulation.run()
        assert not simulation.running

    @given(data=st.data(), policy=policies())
    @settings(max_examples=50)
    def test_same_state_gives_the_same_plan_in_whatever_order_it_is_told(self, data, policy):
        state = data.draw(states(policy, decide))
        shuffled = replace(
            state,
            nodes=tuple(data.draw(st.permutations(state.nodes))),
            running=tuple(data.draw(st.permutations(state.running))),
            waiting=tuple(data.draw(st.permutations(state.waiting))),
        )
        assert decide(state, policy) == decide(state, policy) == decide(shuffled, policy)

    @given(data=st.data(), policy=policies())
    @settings(max_examples=50)
    def test_a_second_decision_starts_nothing_more(self, data, policy):
        """Else a job would wait although it could run."""
        policy = replace(policy, depth=100)
        simulation = Simulation(nodes=data.draw(clusters()), policy=policy, scheduler=decide)
        simulation.submit(data.draw(works(until=0)))
        simulation.run(until=0)
        before = set(simulation.running)
        simulation.decide()
        if policy.backfill is not Backfill.LIMITS:
            assert set(simulation.running) == before


class TestBackfill:
    @given(data=st.data(), restartable=st.booleans(), limits=st.sampled_from([Limits(), Limits(jobs=2)]))
    @settings(max_examples=300)
    def test_first_in_line_starts_no_later_than_without(self, data, restartable, limits):
        """Whatever the jobs' time limits say, and however long they really take."""
        policy = Policy(limits=limits, borrowing=restartable, patience=PLENTY)
        nodes, jobs = data.draw(clusters()), data.draw(works(priorities=("normal",)))
        until = float(data.draw(st.integers(0, 15)))
        starts = {}
        for backfill in (Backfill.OFF, Backfill.HARMLESS):
            # Until then the same, with back-fill: what it started before is there in both.
            simulation = Simulation(nodes=nodes, policy=policy, scheduler=decide)
            simulation.submit(jobs)
            simulation.run(until=until)
            front = simulation.first_in_line
            if front is None:
                return
            borrowing = policy.borrowing and backfill is not Backfill.OFF
            simulation.policy = replace(policy, backfill=backfill, borrowing=borrowing)
            record = simulation.records[front]
            earlier = len(record.starts)
            while len(record.starts) == earlier:
                simulation.step()
            starts[backfill] = record.starts[earlier]
        assert starts[Backfill.HARMLESS] <= starts[Backfill.OFF]

    @given(data=st.data())
    @settings(max_examples=150)
    def test_by_limits_it_starts_no_later_than_promised(self, data):
        policy = Policy(backfill=Backfill.LIMITS, patience=PLENTY)
        simulation = Simulation(nodes=data.draw(clusters()), policy=policy, scheduler=decide)
        promised: dict[str, float] = {}

        def watch(state: State, plan: Plan) -> None:
            for start in plan.starts:
                assert state.now <= promised.get(start.job.id, state.now)
            front = plan.first_in_line or ""
            reason = plan.reasons.get(front)
            if reason and reason.expected is not None:
                assert reason.expected <= promised.get(front, reason.expected)
                promised[front] = reason.expected

        simulation.watch = watch
        simulation.submit(data.draw(works(priorities=("normal",))))
        simulation.run()


class TestStarvation:
    @given(data=st.data(), policy=policies())
    @settings(max_examples=100)
    def test_every_job_that_can_run_does_once_no_more_come(self, data, policy):
        simulation = Simulation(nodes=data.draw(clusters()), policy=policy, scheduler=decide)
        simulation.submit(data.draw(works()))
        simulation.run()
        reasons = decide(simulation.state(), simulation.policy).reasons
        never = {Why.TOO_LARGE, Why.NODE_DOWN, Why.OUTSIDE}
        assert {reasons[job].why for job in simulation.waiting} <= never

    @given(
        gpus=st.integers(1, 4),
        others=st.lists(
            st.tuples(st.integers(1, 4), st.integers(1, 5), st.sampled_from(["low", "normal", "urgent"])),
            min_size=3,
            max_size=6,
        ),
        policy=policies(),
    )
    @settings(max_examples=30)
    def test_wait_is_bounded_whoever_else_keeps_coming(self, gpus, others, policy):
        """Others send more than the cluster can do, without end, some at higher ranks, each as a new user.

        After `patience` the job has the next turn. Then it waits for what runs, and for users overdue before it.
        """
        policy = replace(policy, patience=50.0, limits=Limits())
        nodes = (Node(name="one", capacity=amounts(CPU=8, GPU=4)),)
        request = Request(each=amounts(CPU=1, GPU=gpus))
        ours = Work(job=Job(id="ours", user="anna", request=request, submitted=1.0, priority="low"), seconds=3.0)
        stream = []
        for number, (asked, seconds, priority) in zip(range(150), cycle(others), strict=False):
            job = Job(
                id=f"other-{number:03}",
                user=f"newcomer-{number}",
                request=Request(each=amounts(CPU=1, GPU=asked)),
                submitted=float(number),
                priority=priority,
            )
            stream.append(Work(job=job, seconds=float(seconds)))
        simulation = Simulation(nodes=nodes, policy=policy, scheduler=decide)
        simulation.submit([ours, *stream])
        simulation.run(stop=lambda: bool(simulation.records["ours"].starts))
        # Before it are at most the two that came no later, and one that runs; 5 s at the most each.
        assert simulation.records["ours"].waited <= 50.0 + 3 * 5


class TestShares:
    @given(
        shares=st.lists(st.integers(1, 4), min_size=3, max_size=3),
        sizes=st.lists(st.sampled_from([1, 2, 4]), min_size=3, max_size=3),
        seconds=st.lists(st.sampled_from([600, 1800, 3600]), min_size=3, max_size=3),
    )
    @settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to shrink takes minutes
    def test_usage_of_users_who_always_want_more_goes_to_their_shares(self, shares, sizes, seconds):
        """However large or long the jobs of each are, and however many each has sent."""
        policy = Policy(half_life=2 * DAY)
        users = {name: User(name=name, shares=float(share)) for name, share in zip(USERS, shares, strict=True)}
        simulation = Simulation(
            nodes=(Node(name="one", capacity=amounts(GPU=4, CPU=64)),), policy=policy, scheduler=decide, users=users
        )
        for name, size, length in zip(USERS, sizes, seconds, strict=True):
            needed = int(4 * DAY * 4 / (length * size))
            request = Request(each=amounts(GPU=size))
            simulation.submit(
                Work(job=Job(id=f"{name}-{number}", user=name, request=request, submitted=0.0), seconds=float(length))
                for number in range(needed // 2)
            )
        simulation.run(until=DAY)
        used = {name: simulation.used(name) for name in USERS}
        for name, share in zip(USERS, shares, strict=True):
            assert abs(used[name] / sum(used.values()) - share / sum(shares)) < 0.06

    @pytest.mark.parametrize("seed", range(6))
    def test_who_sends_long_jobs_gets_no_more_in_an_hour_than_who_sends_short_ones(self, seed):
        """What was used counts, and not only what is held at each moment: jobs of a minute, and always some waiting."""
        draw, numbers = random.Random(seed), count()
        simulation = Simulation(nodes=(Node(name="one", capacity=amounts(CPU=2)),), policy=Policy(), scheduler=decide)

        def send(user: str, shortest: float, longest: float) -> None:
            seconds, request = draw.uniform(shortest, longest), Request(each=amounts(CPU=draw.choice((0.5, 1.0))))
            limit = 3 * seconds if draw.random() < 0.5 else None
            name, now = f"{next(numbers):05}", simulation.now
            job = Job(id=name, user=user, request=request, submitted=now, time_limit=limit)
            simulation.submit([Work(job=job, seconds=seconds)])

        while simulation.now < 3600.0:
            waiting = Counter(job.user for job in simulation.waiting.values())
            for _ in range(40 - waiting["anna"]):
                send("anna", *((60.0, 120.0) if draw.random() < 0.4 else (20.0, 40.0)))
            for _ in range(4 - waiting["ben"]):
                send("ben", 20.0, 40.0)
            simulation.step()
        assert 0.49 < simulation.used("ben") / (simulation.used("anna") + simulation.used("ben")) < 0.51

    def test_who_sent_a_thousand_jobs_first_gets_no_more_than_who_sent_ten(self):
        nodes = (Node(name="one", capacity=amounts(GPU=4)),)
        request = Request(each=amounts(GPU=1))
        many = [
            Work(job=Job(id=f"a-{number}", user="anna", request=request, submitted=0.0), seconds=3600.0)
            for number in range(60)
        ]
        few = [
            Work(job=Job(id=f"b-{number}", user="ben", request=request, submitted=1.0), seconds=3600.0)
            for number in range(10)
        ]
        done = simulated([*many, *few], nodes, Policy(), decide, {})
        assert max(record.ended or 0 for name, record in done.records.items() if name[0] == "b") <= 6 * 3600.0
