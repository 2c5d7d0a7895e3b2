"""A cluster gets a copy of its Redis, and then loses the host of the primary. Runs last, on what the others left."""

import time

import pytest

from tests.cluster.cluster import NAMES, REDIS_HOST, REPLICA_HOST
from tests.cluster.faults import told
from tests.cluster.trial import Trial
from tests.live.stack import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def replica(trial: Trial) -> None:
    """Deployed on the running cluster, as its user would."""
    cluster = trial.cluster
    with told(cluster, "all deployed anew", hosts=list(NAMES), lost=list(NAMES)):
        cluster.add_replica()
    cluster.settle(time.monotonic())


def test_moved_to_its_copy_redis_loses_nothing(trial: Trial):
    outcome = trial.suffer("redis_moved")
    assert trial.cluster.redis_host == REPLICA_HOST
    assert outcome.after["incarnation"] == outcome.before["incarnation"]


def test_without_the_host_of_the_primary_the_cluster_goes_on_with_the_copy(trial: Trial):
    outcome = trial.suffer("redis_host_lost", until=trial.an_actor_is_created)
    assert trial.cluster.redis_host == REDIS_HOST
    assert outcome.after["incarnation"] == outcome.before["incarnation"]

    def follows() -> bool:
        return "copy" in trial.cluster.ws(REPLICA_HOST, "redis", "status")

    wait_until(follows, "the former primary as a copy", seconds=60)
