"""Clusters and jobs for Hypothesis: small, so that limits are reached, with all shapes that the scheduler knows."""

from hypothesis import strategies as st

from scheduling.amounts import amounts
from scheduling.model import Backfill, Job, Limits, Node, Policy, Priority, Request, State, User
from testing.queue_simulation import Simulation, Work

PRIORITIES = {"low": Priority(rank=0), "normal": Priority(rank=1), "urgent": Priority(rank=2, preempts=True)}
USERS = ("anna", "ben", "chloe")


@st.composite
def clusters(draw) -> tuple[Node, ...]:
    """One to three nodes; some have GPUs, some are partly taken, some are down."""
    nodes = []
    for number in range(draw(st.integers(1, 3))):
        gpus = draw(st.integers(0, 4))
        taken = amounts(CPU=draw(st.integers(0, 1)), GPU=draw(st.integers(0, min(1, gpus))))
        up = number == 0 or draw(st.integers(0, 5)) > 0
        capacity = amounts(CPU=draw(st.integers(1, 8)), GPU=gpus)
        nodes.append(Node(name=f"node-{number}", capacity=capacity, taken=taken, up=up))
    return tuple(nodes)


@st.composite
def works(draw, *, most: int = 12, until: int = 20, priorities=tuple(PRIORITIES), restartable=None) -> list[Work]:
    """Jobs that come within some time; half of them have a time limit, and none runs longer than its own."""
    drawn = []
    for number in range(draw(st.integers(1, most))):
        seconds = draw(st.integers(1, 12))
        limit = draw(st.none() | st.integers(seconds, 2 * seconds))
        each = amounts(CPU=draw(st.integers(0, 4)), GPU=draw(st.integers(0, 3)))
        job = Job(
            id=f"job-{number}",
            user=draw(st.sampled_from(USERS)),
            request=Request(each=each, count=draw(st.integers(1, 3))),
            submitted=float(draw(st.integers(0, until))),
            priority=draw(st.sampled_from(priorities)),
            time_limit=limit,
            restartable=draw(st.booleans()) if restartable is None else restartable,
        )
        drawn.append(Work(job=job, seconds=float(seconds)))
    return drawn


@st.composite
def policies(draw) -> Policy:
    """Every kind of back-fill, with and without loans, limits and patience."""
    limits = Limits(
        jobs=draw(st.none() | st.integers(1, 3)),
        amounts=amounts(GPU=draw(st.integers(1, 4))) if draw(st.booleans()) else {},
    )
    return Policy(
        backfill=draw(st.sampled_from(Backfill)),
        borrowing=draw(st.booleans()),
        priorities=PRIORITIES,
        limits=limits,
        patience=float(draw(st.sampled_from([10, 1000]))),
        half_life=float(draw(st.sampled_from([5, 1000]))),
        depth=draw(st.sampled_from([1, 100])),
    )


@st.composite
def states(draw, policy: Policy, scheduler) -> State:
    """What a cluster looks like after some time."""
    simulation = Simulation(nodes=draw(clusters()), policy=policy, scheduler=scheduler)
    simulation.users = {name: User(name=name, shares=float(draw(st.integers(1, 3)))) for name in USERS}
    simulation.submit(draw(works()))
    simulation.run(until=float(draw(st.integers(0, 20))))
    return simulation.state()
