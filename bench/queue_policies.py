"""What the scheduler is compared with: first in, first out, with and without back-fill, and Slurm's fair tree.

Slurm's is what https://slurm.schedmd.com/fair_tree.html states, not its code: a child's level fair share is its part of
its siblings' shares, divided by its part of their usage. Siblings are sorted by it, and the tree is walked depth first;
that gives the users' ranks. Accounts that tie have their children merged. The one factor of a job's priority is the
rank of its user; equal ones go by time. Usage decays with Slurm's default half-life, seven days, as ours does.

Back-fill here keeps a reservation for the first in line alone (EASY). Slurm's plugin keeps one for each job that it
looks at, so it starts fewer jobs early; that is not simulated.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby

from scheduling import room
from scheduling.model import Job, Plan, Policy, Running, Start, State
from scheduling.reservation import latest_start
from testing.queue_simulation import Scheduler

Order = Callable[[State], list[Job]]


def by_time(state: State) -> list[Job]:
    """First in, first out."""
    return sorted(state.waiting, key=lambda job: (job.submitted, job.id))


def fair_tree(accounts: Mapping[str, Iterable[str]], shares: Mapping[str, float]) -> Order:
    """By the rank of users in a tree of accounts and users."""
    members = {account: tuple(names) for account, names in accounts.items()}

    def order(state: State) -> list[Job]:
        usage = {name: state.users[name].usage if name in state.users else 0.0 for name in shares}
        rank = _ranks(members, shares, usage)
        return sorted(state.waiting, key=lambda job: (rank[job.user], job.submitted, job.id))

    return order


def scheduler(order: Order, *, backfill: bool) -> Scheduler:
    """Starts jobs in an order until one does not fit; then those that do not delay it, by the time limits."""

    def decide(state: State, policy: Policy) -> Plan:
        free, running, starts = room.free_now(state.nodes, state.running), list(state.running), list[Start]()
        front: Job | None = None
        promised: float | None = None
        tried = 0
        for job in order(state):
            where = room.place(job.request, free)
            if where is None and front is None:
                front, promised = job, latest_start(job.request, free, running, state.now)
                if not backfill:
                    break
            if front is not None:
                tried += 1
                if tried > policy.depth:
                    break
            if where is None:
                continue
            after = free.after(job.request, where)
            with_it = [*running, room.started(job, state.now, where)]
            if front is not None and not _in_time(job, front, after, with_it, state.now, promised):
                continue
            free, running = after, with_it
            starts.append(Start(job=job, nodes=where, backfill=front is not None))
        return Plan(starts=tuple(starts), stops=(), first_in_line=front.id if front else None, reasons={})

    return decide


def _in_time(
    job: Job, front: Job, after: room.Free, running: list[Running], now: float, promised: float | None
) -> bool:
    if promised is None:
        return False
    if job.time_limit is not None and now + job.time_limit <= promised:
        return True
    latest = latest_start(front.request, after, running, now)
    return latest is not None and latest <= promised


def _ranks(
    accounts: Mapping[str, tuple[str, ...]], shares: Mapping[str, float], usage: Mapping[str, float]
) -> dict[str, int]:
    """0 for the user whose jobs go first; equal where they tie."""
    fair = _level(
        {account: sum(shares[name] for name in names) for account, names in accounts.items()},
        {account: sum(usage[name] for name in names) for account, names in accounts.items()},
    )
    ranks: dict[str, int] = {}
    for _, tied in groupby(sorted(accounts, key=lambda account: -fair[account]), key=lambda account: fair[account]):
        own: dict[str, float] = {}
        for account in tied:
            names = accounts[account]
            own |= _level({name: shares[name] for name in names}, {name: usage[name] for name in names})
        for _, equal in groupby(sorted(own, key=lambda name: -own[name]), key=lambda name: own[name]):
            ranks |= dict.fromkeys(equal, len(ranks))
    return ranks


def _level(shares: Mapping[str, float], usage: Mapping[str, float]) -> dict[str, float]:
    """Level fair share of siblings; endless for who has used nothing."""
    all_shares, all_usage = sum(shares.values()), sum(usage.values())
    return {
        name: (share / all_shares) / (usage[name] / all_usage) if usage[name] else float("inf")
        for name, share in shares.items()
    }
