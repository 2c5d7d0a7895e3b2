"""A cluster gets a Redis replica, and then loses the primary's host. Runs last, on the cluster of the other tests."""

import time

import pytest

from testing.cluster.cluster import NAMES, REDIS_HOST, REPLICA_HOST
from testing.cluster.faults import told
from testing.cluster.trial import Trial
from testing.live.deployment import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def replica(trial: Trial) -> None:
    """Deployed on the running cluster, as its user would."""
    cluster = trial.cluster
    with told(cluster, "all redeployed", hosts=list(NAMES), lost=list(NAMES)):
        cluster.add_replica()
    cluster.settle(time.monotonic())


def test_moved_to_its_copy_redis_loses_nothing(trial: Trial):
    outcome = trial.suffer("redis_moved")
    assert trial.cluster.redis_host == REPLICA_HOST
    assert outcome.after["incarnation"] == outcome.before["incarnation"]


@pytest.mark.parametrize("leads_then", [REDIS_HOST, REPLICA_HOST])
def test_is_replaced_after_its_copy_leads(trial: Trial, leads_then: str):
    outcome = trial.suffer("redis_replaced")
    assert trial.cluster.redis_host == leads_then
    assert outcome.after["incarnation"] == outcome.before["incarnation"]
    print(f"a new actor {outcome.creation:.1f} s after the replacement of Redis's primary began")  # noqa: T201 (pytest -rP)


def test_without_the_host_of_the_primary_the_cluster_goes_on_with_the_copy(trial: Trial):
    # A head on the lost host would be replaced anyway. One elsewhere waits for a server that never answers.
    if trial.cluster.leader() == trial.cluster.redis_host:
        trial.suffer("head_moved")
    outcome = trial.suffer("redis_host_lost", until=trial.an_actor_is_created)
    assert trial.cluster.redis_host == REDIS_HOST
    assert outcome.after["incarnation"] == outcome.before["incarnation"]

    def follows() -> bool:
        return "replica" in trial.cluster.ws(REPLICA_HOST, "redis", "status")

    wait_until(follows, "the former primary as a replica", seconds=60)
