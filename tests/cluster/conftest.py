"""The cluster that all these tests share, and the client that works on it while they break things."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.cluster.cluster import Cluster
from testing.cluster.form import ROUNDS, SEED
from testing.cluster.trial import Trial


def pytest_report_header() -> str:
    """What a failure is repeated with."""
    return f"cluster: CLUSTER_ROUNDS={ROUNDS} CLUSTER_SEED={SEED}"


@pytest.fixture(scope="session")
def draw() -> random.Random:
    """Draws everything that is random."""
    return random.Random(SEED)


# Down before other tests begin: three hosts that idle cost them half of a core.
@pytest.fixture(scope="package")
def cluster(docker_engine: None, dockerd: Path, iproute: Path, iptables: Path) -> Iterator[Cluster]:
    """Three hosts, deployed at the same moment."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for namespaces")
    # Not pytest's folder: the sockets in it need a short path, and three Dockers' data need not be kept.
    with Cluster.make(Path(tempfile.gettempdir(), "cslr-cluster")) as made:
        made.up_all()
        yield made


@pytest.fixture(scope="package")
def trial(cluster: Cluster, draw: random.Random) -> Iterator[Trial]:
    """The cluster under observation, with a client at work."""
    with cluster.observed():
        yield Trial(cluster=cluster, draw=draw)
