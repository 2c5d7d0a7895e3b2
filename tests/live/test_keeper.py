"""The keeper on the real Docker Engine: what it restarts and what it leaves alone. About two minutes."""

import time
import uuid
from collections.abc import Iterator

import pytest
from docker.models.containers import Container

from components.docker import STATE_TARGET
from testing.live.deployment import LiveStack, wait_until

pytestmark = pytest.mark.live

SECONDS = 60.0  # 3 until unhealthy, 10 of patience, 5 until the next look, 1 to stop
CHECK = {"test": ["CMD", "redis-cli", "ping"], "interval": 10**9, "timeout": 10**9, "retries": 2}


class Frozen:
    """Redis servers beside the stack's services, with a quick health check; each can be frozen."""

    def __init__(self, stack: LiveStack) -> None:
        self.stack = stack
        self.made: list[Container] = []

    def start(self, **labels: str) -> Container:
        """One that is the stack's own but for `labels`, healthy."""
        name = f"cslr-live-kept-{uuid.uuid4().hex[:8]}"
        own = {"cslr.project": "cslr", "cslr.stack": self.stack.name, "cslr.component": "kept"}
        container = self.stack.engine.containers.create(
            self.stack.container("redis").attrs["Image"],
            entrypoint=["redis-server", "--save", ""],
            name=name,
            labels={**own, **{f"cslr.{key}": value for key, value in labels.items()}},
            healthcheck=CHECK,
            network_mode="none",
        )
        self.made.append(container)
        container.start()
        wait_until(lambda: health(container) == "healthy", "its health", SECONDS)
        return container

    def freeze(self, container: Container) -> None:
        """Stops its main process where it stands, as one that hangs, until Docker has noticed."""
        container.kill("STOP")
        wait_until(lambda: health(container) == "unhealthy", "the failing health check", SECONDS)


@pytest.fixture
def frozen(small: LiveStack) -> Iterator[Frozen]:
    beside = Frozen(small)
    yield beside
    for container in beside.made:
        container.remove(force=True, v=True)


def health(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


def started(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["StartedAt"])


def log(stack: LiveStack) -> str:
    return stack.container("keeper").logs().decode()


def test_restarts_a_container_that_hangs_and_says_so(small, frozen):
    container = frozen.start()
    before = started(container)
    frozen.freeze(container)
    wait_until(lambda: started(container) != before, "the restart", SECONDS)
    wait_until(lambda: health(container) == "healthy", "its health after the restart", SECONDS)
    lines = [line for line in log(small).splitlines() if str(container.name) in line]
    assert len(lines) == 1
    assert "is unhealthy (Health check exceeded timeout" in lines[0]
    assert lines[0].endswith("): restart 1 of at most 5")


def test_leaves_alone_what_is_of_another_stack_paused_or_stopped(small, frozen):
    other, paused, stopped, own = frozen.start(stack="other"), frozen.start(), frozen.start(), frozen.start()
    frozen.freeze(other)
    frozen.freeze(paused)
    paused.pause()
    stopped.stop(timeout=1)
    alone = [other, paused, stopped]
    before, running = {container.name: started(container) for container in alone}, started(own)
    frozen.freeze(own)  # the last of them: when it is restarted, the patience with the others is over as well
    wait_until(lambda: started(own) != running, "the restart of one that hangs", SECONDS)
    assert {container.name: started(container) for container in alone} == before
    assert not [container.name for container in alone if str(container.name) in log(small)]
    paused.unpause()


def test_has_no_network_but_its_own_loopback(small):
    code, interfaces = small.exec("keeper", "sh", "-c", "ls /sys/class/net")
    assert (code, interfaces.split()) == (0, ["lo"])


def test_stops_at_once(small):
    keeper = small.container("keeper")
    began = time.monotonic()
    keeper.stop(timeout=15)
    assert time.monotonic() - began < 10
    keeper.start()
    wait_until(lambda: health(keeper) == "healthy", "its health", SECONDS)


def test_writes_its_state_after_another_start_as_well(small):
    """runc gives a tmpfs the mode of its mount point if that exists, as it does from the second start on."""
    redis = small.container("redis")
    redis.restart(timeout=10)
    wait_until(lambda: health(redis) == "healthy", "its health", SECONDS)
    assert small.exec("redis", "touch", f"{STATE_TARGET}/of-this-test") == (0, "")
