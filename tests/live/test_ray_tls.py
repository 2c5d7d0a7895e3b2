"""Ray with its own TLS: who is refused, who gets in, a restart, and no key that Docker shows. Some two minutes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import grpc  # type: ignore[import-untyped]
import pytest

from contracts.ray_tls import AUTHORITY, CERTIFICATE, KEY
from stack.certificates import issue, make_authority
from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed, wait_until

pytestmark = pytest.mark.live
CLIENT = 22571
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-ray-tls", "subnet": "10.207.0.0/24"},
        "redis": {"port": 22572},
        "health": {"port": 22573},
        "ray": {
            "tls": True,
            "cpu": {
                "enabled": True,
                "torch": False,
                "cpus": 1,
                "memory": "3g",
                "ports": {"dashboard": 22570, "client": CLIENT},
            },
        },
        "marimo": {"enabled": True, "port": 22574, "memory": "2g"},
    },
)
REFUSED_SECONDS, ANSWER_SECONDS = 5.0, 30.0
TASK = "import ray\nray.init(log_to_driver=False)\nprint(ray.get(ray.remote(num_cpus=0)(lambda: 'proof').remote()))"
# What ends a GCS of Ray 2.60 that takes it from anybody (tests/cluster/test_outside.py).
MESSAGE = """
import grpc
channel = grpc.insecure_channel("ray-cpu:6379")
call = channel.stream_stream("/ray.rpc.syncer.RaySyncer/StartSync")
try:
    list(call(iter([b""]), timeout=10))
except grpc.RpcError as error:
    print(error.code().name)
"""


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    # Its verification submits a job, and connects from a notebook and as a Ray Client.
    with deployed("live-ray-tls", SETTINGS, tmp_path_factory.mktemp("ray-tls")) as stack:
        yield stack


@pytest.fixture(scope="module")
def bundle(stack, tmp_path_factory) -> Path:
    """What a person is given for another computer."""
    folder: Path = tmp_path_factory.mktemp("bundle") / "bundle"
    done = stack.ws("client", "--output", str(folder))
    assert done.returncode == 0, done.stdout
    return folder


def connects(credentials: Any, seconds: float) -> bool:
    address = f"127.0.0.1:{CLIENT}"
    channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=seconds)
        except grpc.FutureTimeoutError:
            return False
    return True


def run(stack: LiveStack, service: str, program: str) -> str:
    done = stack.container(service).exec_run(["timeout", "60", "python", "-c", program])
    return cast("bytes", done.output).decode().strip().splitlines()[-1]


def test_only_a_certificate_of_the_stacks_authority_is_let_in(bundle):
    authority = (bundle / AUTHORITY).read_bytes()
    now = datetime.now(UTC)
    other = issue(make_authority("cslr-live-ray-tls Ray authority", now), ("ray-client",), now)
    credentials = grpc.ssl_channel_credentials
    own = credentials(authority, (bundle / KEY).read_bytes(), (bundle / CERTIFICATE).read_bytes())
    assert connects(own, ANSWER_SECONDS)
    assert not connects(None, REFUSED_SECONDS), "without TLS"
    assert not connects(credentials(authority), REFUSED_SECONDS), "without a certificate"
    assert not connects(credentials(authority, other.key, other.chain), REFUSED_SECONDS), "of another authority"


def test_a_message_without_a_certificate_ends_no_head(stack):
    before = stack.container("ray-cpu").attrs["State"]["StartedAt"]
    assert run(stack, "marimo", MESSAGE) == "UNAVAILABLE"
    assert run(stack, "marimo", TASK) == "proof"
    assert stack.container("ray-cpu").attrs["State"]["StartedAt"] == before


def test_docker_shows_no_key(stack):
    for name in ("ray-cpu", "marimo"):
        assert "PRIVATE KEY" not in json.dumps(stack.container(name).attrs)


def test_a_restarted_node_is_reached_again(stack):
    stack.container("ray-cpu").restart(timeout=60)
    wait_until(lambda: not stack.unhealthy(), "all containers healthy", 120)
    assert run(stack, "ray-cpu", TASK) == "proof"
    assert run(stack, "marimo", TASK) == "proof"


def test_a_second_deployment_finds_nothing_to_change(stack):
    assert stack.up().unchanged
