"""No job is lost and none runs twice at once, wherever services are killed, paused or doubled: every history tried.

The world is small enough to visit all of its states: one job, up to three attempts, two services of which one may sleep
between any two steps, and requests that arrive at any time, more than once, or never.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from scheduling.lifecycle import FORGOTTEN, RETRIES, Act, Cause, Outcome, Phase, Record, Seen, follow, start, stop

ATTEMPTS = 2
STEPS = 10  # 22,000 worlds; 14 were tried once
OVER = (Seen.SUCCEEDED, Seen.LOST)  # the others lead where one of these, or a stop, leads too
Request = tuple[str, Act]


@dataclass(frozen=True)
class World:
    """The store, Ray, what is under way, and a service that has read and sleeps."""

    stored: Record
    now: float = 0.0
    ray: tuple[tuple[str, Seen], ...] = ()
    requests: frozenset[Request] = frozenset()
    asleep: tuple[Record, Seen] | None = None

    def seen(self) -> Seen:
        return dict(self.ray).get(self.stored.submission, Seen.UNKNOWN)

    def alive(self) -> list[str]:
        return [submission for submission, seen in self.ray if seen is Seen.ALIVE]

    def written(self, before: Record, after: Record) -> "World | None":
        """None if somebody else has written since."""
        if self.stored.version != before.version:
            return None
        assert after == before or after.version == before.version + 1
        return replace(self, stored=after)

    def went_on(self, record: Record, seen: Seen) -> Iterator["World"]:
        """It stores; then it asks Ray, unless it is killed between the two."""
        after, act = follow(record, seen, self.now)
        world = self.written(record, after)
        if world is not None:
            yield world
            if act:
                yield replace(world, requests=world.requests | {(after.submission, act)})

    def asked(self, request: Request) -> "World":
        """Ray takes an id once."""
        submission, act = request
        known = dict(self.ray)
        if act is not Act.STOP:
            known.setdefault(submission, Seen.ALIVE if act is Act.SUBMIT else Seen.CLAIMED)
        elif known.get(submission) is Seen.ALIVE:
            known[submission] = Seen.STOPPED
        return replace(self, ray=tuple(sorted(known.items())))

    def ended(self, submission: str, how: Seen) -> "World":
        return replace(self, ray=tuple(sorted((dict(self.ray) | {submission: how}).items())))


def next_worlds(world: World) -> Iterator[World]:
    """Everything that may happen next."""
    if world.stored.attempt < ATTEMPTS:
        yield replace(world, stored=start(world.stored))
    for cause in Cause:
        yield replace(world, stored=stop(world.stored, cause))
    yield from world.went_on(world.stored, world.seen())
    if world.asleep is None:
        yield replace(world, asleep=(world.stored, world.seen()))
    else:
        yield from replace(world, asleep=None).went_on(*world.asleep)
    for request in world.requests:
        yield world.asked(request)  # it may come again
        yield replace(world, requests=world.requests - {request})
    for submission in world.alive():
        yield from (world.ended(submission, how) for how in OVER)
    if world.now < 2 * FORGOTTEN:
        yield replace(world, now=world.now + FORGOTTEN)
    if world.ray:  # all that ran is gone and forgotten; requests of before do not reach the new cluster
        yield World(stored=world.stored, now=world.now)


def check(world: World) -> None:
    """What holds at every moment."""
    assert len(world.alive()) <= 1, "it runs twice at once"
    if world.stored.phase is Phase.ENDED:
        assert world.stored.outcome is not None
        assert not world.alive(), "it has ended, and runs"


def check_step(before: World, after: World) -> None:
    """What holds from each moment to the next."""
    if before.stored.phase is Phase.ENDED:
        assert after.stored == before.stored, "what has ended stays so"
        assert not set(after.alive()) - set(before.alive()), "it starts after its end"


def settled(world: World) -> World:
    """All goes well from here on: requests arrive, and programs end or are stopped."""
    for _ in range(8 + 4 * RETRIES):
        for request in sorted(world.requests, key=str):
            world = world.asked(request)
        world = replace(world, requests=frozenset(), stored=start(world.stored), now=world.now + FORGOTTEN)
        check(world)
        world = list(world.went_on(world.stored, world.seen()))[-1]
        for submission in world.alive():
            if world.stored.cause is None:
                world = world.ended(submission, Seen.SUCCEEDED)
        if world.stored.phase is Phase.ENDED:
            break
    return world


def test_in_no_history_is_the_job_lost_or_run_twice_at_once():
    visited = edge = {World(stored=Record(id="a"))}
    for _ in range(STEPS):
        following = set()
        for world in edge:
            for after in next_worlds(world):
                check_step(world, after)
                if after not in visited and after not in following:
                    check(after)
                    following.add(after)
        visited, edge = visited | following, following
    ends = {settled(world).stored.phase for world in {replace(world, asleep=None) for world in visited}}
    assert ends == {Phase.ENDED}
    assert len(visited) > 1000, "the world did not unfold"


RUNNING = Record(id="a", phase=Phase.RUNNING, attempt=1)


class TestEnds:
    @pytest.mark.parametrize(
        ("cause", "seen", "phase", "outcome"),
        [
            (None, Seen.SUCCEEDED, Phase.ENDED, Outcome.SUCCEEDED),
            (None, Seen.FAILED, Phase.ENDED, Outcome.FAILED),  # its own error: again would be the same
            (None, Seen.STOPPED, Phase.ENDED, Outcome.CANCELLED),  # with Ray's own command
            (None, Seen.LOST, Phase.WAITING, None),
            (Cause.MAKE_ROOM, Seen.STOPPED, Phase.WAITING, None),
            (Cause.MAKE_ROOM, Seen.FAILED, Phase.WAITING, None),  # programs end so when they are told to stop
            (Cause.MAKE_ROOM, Seen.SUCCEEDED, Phase.ENDED, Outcome.SUCCEEDED),
            (Cause.CANCEL, Seen.LOST, Phase.ENDED, Outcome.CANCELLED),
            (Cause.OVER_TIME, Seen.STOPPED, Phase.ENDED, Outcome.OVER_TIME),
        ],
    )
    def test_end_of_an_attempt(self, cause, seen, phase, outcome):
        record = RUNNING if cause is None else stop(RUNNING, cause)
        after, act = follow(record, seen, 0.0)
        assert (after.phase, after.outcome, act) == (phase, outcome, None)

    def test_lost_attempts_are_repeated_so_often_and_no_more(self):
        record, attempts = Record(id="a"), 0
        while record.phase is Phase.WAITING:
            record, attempts = follow(start(record), Seen.LOST, 0.0)[0], attempts + 1
        assert (record.outcome, attempts) == (Outcome.LOST, 1 + RETRIES)

    def test_head_move_is_no_loss(self):
        missing, _ = follow(RUNNING, Seen.UNKNOWN, 0.0)
        assert follow(missing, Seen.UNKNOWN, FORGOTTEN - 1)[0].phase is Phase.RUNNING
        assert follow(missing, Seen.ALIVE, FORGOTTEN - 1)[0].missing_since is None
        assert follow(missing, Seen.UNKNOWN, FORGOTTEN)[0].phase is Phase.WAITING

    def test_cancelled_while_it_may_be_starting_it_never_runs_later(self):
        """The submission may be under way: the empty job takes its id."""
        cancelled = stop(start(Record(id="a")), Cause.CANCEL)
        assert follow(cancelled, Seen.UNKNOWN, 0.0)[1] is Act.CLAIM
        assert follow(cancelled, Seen.CLAIMED, 0.0)[0].outcome is Outcome.CANCELLED
        assert follow(cancelled, Seen.ALIVE, 0.0)[1] is Act.STOP
