"""What the queue's scheduler is compared with."""

from bench.queue_policies import by_time, fair_tree, scheduler
from scheduling.model import Policy, State
from tests.unit.scheduling.examples import HOUR, job, node, running, user

ACCOUNTS = {"one": ["anna", "ben"], "two": ["chloe", "dora"]}
SHARES = dict.fromkeys(["anna", "ben", "chloe", "dora"], 1.0)


def order(**usage: float) -> list[str]:
    users = {name: entry for who, used in usage.items() for name, entry in user(who, usage=used).items()}
    waiting = tuple(job(f"{name}'s", user=name) for name in sorted(SHARES, reverse=True))
    told = State(now=0.0, nodes=(), running=(), waiting=waiting, users=users)
    return [each.user for each in fair_tree(ACCOUNTS, SHARES)(told)]


class TestFairTree:
    def test_all_of_an_account_go_before_all_of_one_that_used_more(self):
        """Ben has used more than either of the others, but his account has used less."""
        assert order(anna=0.0, ben=5.0, chloe=3.0, dora=4.0) == ["anna", "ben", "chloe", "dora"]

    def test_users_of_accounts_that_tie_are_ranked_together(self):
        assert order(anna=1.0, ben=4.0, chloe=2.0, dora=3.0) == ["anna", "chloe", "dora", "ben"]

    def test_users_that_tie_go_by_time(self):
        assert order() == sorted(SHARES)


class TestBackfill:
    def test_only_what_ends_in_time_starts_past_the_first_in_line(self):
        held = (running(job("r", gpus=2, time_limit=2 * HOUR), "one"),)
        waiting = (
            job("front", gpus=4),
            job("long", gpus=1, time_limit=3 * HOUR, submitted=1.0),
            job("short", gpus=1, time_limit=HOUR, submitted=2.0),
        )
        told = State(now=0.0, nodes=(node(),), running=held, waiting=waiting, users={})
        plan = scheduler(by_time, backfill=True)(told, Policy())
        assert [start.job.id for start in plan.starts] == ["short"]
        assert not scheduler(by_time, backfill=False)(told, Policy()).starts
