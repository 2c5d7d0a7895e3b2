"""The faults by name: each is a context manager that breaks something on entry and undoes it on exit.

Where a fault hits is the leader, or drawn from a seeded generator, so that a sequence can be repeated. Each tells the
history what it costs by rights: `lost` hosts, whose processes end, `away` ones, cut off for a time, and `data` lost.
"""

import contextlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import redis
from docker.models.containers import Container

from testing.cluster.cluster import CANDIDATES, REDIS_HOST, REDIS_PORT, REPLICA_HOST, Cluster

Fault = Callable[[Cluster, random.Random], contextlib.AbstractContextManager[None]]

TTL = 6.0  # of the lease
BEYOND = 10.0  # seconds that a fault lasts which must outlast the lease
REDIS_OUTAGE = 8.0
GCS, AGENT = "gcs_server", "entrypoints.ray.agent"
FLAPS = 4
PAUSES = 10  # tries


@contextlib.contextmanager
def told(cluster: Cluster, name: str, **facts: Any) -> Iterator[None]:
    """A fault in the history, from its beginning to when it is undone."""
    event = cluster.history.now("fault", name=name, id=len(cluster.history.events), **facts)
    try:
        yield
    finally:
        cluster.history.now("end", name=name, of=event["id"])


@contextlib.contextmanager
def head_process_killed(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """SIGKILL of the GCS."""
    leader = cluster.victim()
    with told(cluster, "head process killed", hosts=[leader]):
        kill(cluster, leader, GCS)
    yield


@contextlib.contextmanager
def head_container_killed(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """SIGKILL of everything in the head's container, the agent too. Docker starts it again."""
    leader = cluster.victim()
    with told(cluster, "head container killed", hosts=[leader]):
        kill(cluster, leader, "")
    yield


@contextlib.contextmanager
def head_container_down(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """`docker kill` of the head's container, after which Docker starts nothing by itself; `docker start`."""
    leader = cluster.victim()
    container = cluster.container(leader, "ray-head")
    with told(cluster, "head container down", hosts=[leader]):
        container.kill()
        try:
            yield
        finally:
            container.start()


@contextlib.contextmanager
def agent_killed(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """SIGKILL of the agent and of the process beside it, not of the head."""
    leader = cluster.victim()
    with told(cluster, "agent killed", hosts=[leader]):
        kill(cluster, leader, AGENT)
    yield


@contextlib.contextmanager
def leader_lost(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The head's host loses its power, and boots again."""
    leader = cluster.victim()
    with told(cluster, "head's host lost", hosts=[leader], lost=[leader]), lost(cluster, leader):
        yield


@contextlib.contextmanager
def standby_lost(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The host that could lead, but does not, loses its power, and boots again."""
    (standby,) = set(CANDIDATES) - {cluster.victim()}
    with told(cluster, "standby's host lost", hosts=[standby], lost=[standby]), lost(cluster, standby):
        yield


@contextlib.contextmanager
def dockerd_restarted(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The Docker Engine of the head's host is stopped, and starts again: all containers of it end and come back.

    One that is killed starts none of them again (20.10): it takes what it ends itself for stopped by hand.
    """
    leader = cluster.victim()
    with told(cluster, "dockerd of the head's host restarted", hosts=[leader], lost=[leader]):
        cluster.hosts[leader].restart_dockerd()
    yield


@contextlib.contextmanager
def head_frozen(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """SIGSTOP of the GCS beyond the lease, and SIGCONT."""
    leader = cluster.victim()
    with told(cluster, "head frozen", hosts=[leader]), stopped(cluster, leader, GCS):
        yield


@contextlib.contextmanager
def agent_frozen(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """SIGSTOP of the agent beyond the lease, and SIGCONT; its head runs on."""
    leader = cluster.victim()
    with told(cluster, "agent frozen", hosts=[leader]), stopped(cluster, leader, AGENT):
        yield


@contextlib.contextmanager
def head_container_paused(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """`docker pause` of head, agent and all beside it beyond the lease, and `docker unpause`."""
    leader = cluster.victim()
    with told(cluster, "head container paused", hosts=[leader]), paused(cluster.container(leader, "ray-head")):
        yield


@contextlib.contextmanager
def link_down(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The cable of the head's host is out."""
    leader = cluster.victim()
    with told(cluster, "link of the head's host down", hosts=[leader], away=[leader]):
        cluster.lan.set_link(cluster.hosts[leader], "down")
        try:
            yield
        finally:
            cluster.lan.set_link(cluster.hosts[leader], "up")


@contextlib.contextmanager
def head_cannot_reach_redis(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """What the head's host sends to Redis is lost; the other direction is not."""
    leader = cluster.victim()
    with cut(cluster, "head cannot reach Redis", [(leader, REDIS_HOST)], away=[leader]):
        yield


@contextlib.contextmanager
def redis_cannot_reach_head(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """What Redis sends to the head's host is lost; the other direction is not."""
    leader = cluster.victim()
    with cut(cluster, "Redis cannot reach the head", [(REDIS_HOST, leader)], away=[leader]):
        yield


@contextlib.contextmanager
def workers_cannot_reach_head(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The head holds its lease in Redis, but nothing else passes between it and the others, either way."""
    leader = cluster.victim()
    pairs = [(leader, name) for name in cluster.others(leader)]
    pairs += [(target, source) for source, target in pairs]
    with cut(cluster, "workers cannot reach the head", pairs, away=[leader], spared=REDIS_PORT):
        yield


@contextlib.contextmanager
def partition(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """Two halves: one host alone, at random."""
    alone = draw.choice(list(cluster.hosts))
    others = cluster.others(alone)
    pairs = [(alone, other) for other in others] + [(other, alone) for other in others]
    away = others if alone == REDIS_HOST else [alone]
    with cut(cluster, f"partition, {alone} alone", pairs, away=away):
        yield


@contextlib.contextmanager
def redis_restarted(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """Redis is killed and stays away beyond the lease; it keeps its data."""
    with told(cluster, "Redis killed and restarted", hosts=[REDIS_HOST]), redis_away(cluster):
        yield


@contextlib.contextmanager
def redis_wiped(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """Redis is killed and comes back without its data."""
    with told(cluster, "Redis restarted without its data", hosts=[REDIS_HOST], data="lost"), redis_away(cluster):
        wipe_redis(cluster)
        yield


@contextlib.contextmanager
def address_flaps(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The address of the head's host goes and comes."""
    leader = cluster.victim()
    with told(cluster, "address flaps", hosts=[leader], away=[leader]):
        for _ in range(FLAPS):
            cluster.hosts[leader].remove_address()
            time.sleep(draw.uniform(0.2, 2.0))
            cluster.hosts[leader].add_address()
            time.sleep(draw.uniform(0.2, 2.0))
    yield


@contextlib.contextmanager
def second_agent(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """A copy of the head's container is started by hand on the head's host."""
    leader = cluster.victim()
    with told(cluster, "second agent", hosts=[leader]):
        copy = twin(cluster.hosts[leader].engine, cluster.container(leader, "ray-head"), f"{leader}-twin")
        try:
            yield
        finally:
            copy.remove(force=True)


@contextlib.contextmanager
def redis_clock_jumps(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The lease ends while its holder counts on it."""
    with told(cluster, "clock of Redis jumps", hosts=[cluster.redis_host]):
        cluster.view.end_lease()
    yield


@contextlib.contextmanager
def redis_moved(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """No fault: the Redis replica becomes the primary because an operator says so."""
    target = other_redis_host(cluster)
    with told(cluster, "Redis moved", hosts=[cluster.redis_host, target]):
        cluster.ws(target, "redis", "failover")
        cluster.redis_host = target
    yield


@contextlib.contextmanager
def redis_replaced(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """No fault: `ws up` replaces the container of the primary. A replica in step leads before that."""
    former, stack = cluster.redis_host, cluster.stacks[cluster.redis_host]
    changed: dict[str, Any] = {"env": {"REPLACED": str(draw.random())}}
    stack.configure({"redis": changed if former == REDIS_HOST else {"replica": changed}})
    with told(cluster, "Redis replaced", hosts=[former]):
        said = cluster.up(former)
        if "is the primary of Redis now" in said:
            cluster.redis_host = other_redis_host(cluster)
    yield


@contextlib.contextmanager
def redis_host_lost(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """The host of the primary loses its power; an operator promotes the replica; then that host boots again."""
    former, target = cluster.redis_host, other_redis_host(cluster)
    with told(cluster, "Redis's host lost", hosts=[former], lost=[former]), lost(cluster, former):
        cluster.ws(target, "redis", "failover", "--primary-is-off")
        cluster.redis_host = target
        yield


@contextlib.contextmanager
def head_moved(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """No fault: the head moves to the other candidate on request."""
    leader = cluster.victim()
    (target,) = set(CANDIDATES) - {leader}
    with told(cluster, "head moved", hosts=[leader]):
        cluster.ws(leader, "head", "move", target)
    yield


@contextlib.contextmanager
def no_candidate(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """`docker pause` of every container that could run a head."""
    containers = [cluster.container(name, "ray-head") for name in CANDIDATES]
    with told(cluster, "no candidate alive", hosts=list(CANDIDATES)), contextlib.ExitStack() as all_paused:
        for container in containers:
            all_paused.enter_context(paused(container))
        yield


# --- means ---


def kill(cluster: Cluster, host: str, program: str) -> None:
    """SIGKILL of every process of the head's container on a host that has `program` in its command line."""
    killed = cluster.hosts[host].signal(cluster.container(host, "ray-head"), program, signal.SIGKILL)
    assert killed, f"no {program or 'process'} in the head's container on {host}"


@contextlib.contextmanager
def stopped(cluster: Cluster, host: str, program: str) -> Iterator[None]:
    """SIGSTOP and SIGCONT. A container of the same name that came meanwhile is another one."""
    container = cluster.container(host, "ray-head")
    assert cluster.hosts[host].signal(container, program, signal.SIGSTOP), f"no {program} on {host}"
    try:
        yield
    finally:
        cluster.hosts[host].signal(container, program, signal.SIGCONT)


def pause(container: Container) -> None:
    """`docker pause`. The kernel cannot always freeze what is busy at once, and Docker does not try again."""
    for _ in range(PAUSES):
        with contextlib.suppress(docker.errors.APIError):
            container.pause()
            return
        time.sleep(0.2)
    container.pause()


@contextlib.contextmanager
def paused(container: Container) -> Iterator[None]:
    """`docker pause` and `docker unpause`, unless its host was without power meanwhile: then it runs already."""
    pause(container)
    try:
        yield
    finally:
        container.reload()
        if container.status == "paused":
            container.unpause()


@contextlib.contextmanager
def lost(cluster: Cluster, name: str) -> Iterator[None]:
    assert cluster.hosts[name].is_up, f"{name} has no power"
    cluster.hosts[name].lose()
    try:
        yield
    finally:
        cluster.hosts[name].boot()


@contextlib.contextmanager
def cut(
    cluster: Cluster, what: str, pairs: list[tuple[str, str]], *, away: list[str], spared: int | None = None
) -> Iterator[None]:
    """Nothing goes from the first to the second host of each pair, but what is to or from a spared port."""
    hosts = sorted({source for source, _ in pairs})
    with told(cluster, what, hosts=hosts, away=away), contextlib.ExitStack() as cuts:
        for source, target in pairs:
            cuts.enter_context(cluster.lan.cut(cluster.hosts[source], cluster.hosts[target], spared=spared))
        yield


@contextlib.contextmanager
def redis_away(cluster: Cluster) -> Iterator[None]:
    """Docker keeps a container down that was killed by its name, and starts it when told to."""
    container = cluster.container(REDIS_HOST, "redis")
    container.kill()
    try:
        yield
    finally:
        container.start()


def other_redis_host(cluster: Cluster) -> str:
    """Where the replica is, in a cluster that has one."""
    return next(name for name in (REDIS_HOST, REPLICA_HOST) if name != cluster.redis_host)


def wipe_redis(cluster: Cluster) -> None:
    """Empties the volume of a Redis that is down."""
    volume = cluster.hosts[REDIS_HOST].engine.volumes.get(f"cslr-{REDIS_HOST}-redis-data")
    for path in Path(volume.attrs["Mountpoint"]).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def twin(engine: docker.DockerClient, container: Container, name: str) -> Container:
    """Another container of the same image, command, mounts and limits, running."""
    found, api = container.attrs, engine.api
    keys = ("Image", "Cmd", "Entrypoint", "Env", "User", "Hostname")
    config = {key: found["Config"][key] for key in keys} | {"HostConfig": {**found["HostConfig"], "RestartPolicy": {}}}
    made = api.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
    api.start(made["Id"])
    return engine.containers.get(made["Id"])


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        head_process_killed,
        head_container_killed,
        head_container_down,
        agent_killed,
        leader_lost,
        standby_lost,
        dockerd_restarted,
        head_frozen,
        agent_frozen,
        head_container_paused,
        link_down,
        head_cannot_reach_redis,
        redis_cannot_reach_head,
        workers_cannot_reach_head,
        partition,
        redis_restarted,
        redis_wiped,
        address_flaps,
        second_agent,
        redis_clock_jumps,
        no_candidate,
        head_moved,
    )
}
# These need a Redis replica.
REDIS_FAULTS: dict[str, Fault] = {fault.__name__: fault for fault in (redis_moved, redis_replaced, redis_host_lost)}

# --- two at once ---

# What a fault of the second set undoes needs the host's Docker, which a fault of the first one takes away.
POWER = {"leader_lost", "standby_lost"}
UNDONE_BY_DOCKER = {"head_container_down", "head_container_paused", "no_candidate", "second_agent"}
APART_SECONDS = 5.0  # between the beginnings, and between the ends
NOT_NOW = (AssertionError, subprocess.CalledProcessError, docker.errors.DockerException, redis.RedisError)


def may_overlap(first: str, second: str) -> bool:
    """Whether both can be undone, in either order."""
    names = {first, second}
    return len(names) == 2 and not (names & POWER and names & UNDONE_BY_DOCKER)


@contextlib.contextmanager
def overlapping(cluster: Cluster, draw: random.Random) -> Iterator[None]:
    """Two faults at once, ended in either order. The second is drawn again where the first leaves nothing to break."""
    first = draw.choice(sorted(FAULTS))
    seconds = [name for name in sorted(FAULTS) if may_overlap(first, name)]
    draw.shuffle(seconds)
    with contextlib.ExitStack() as one, contextlib.ExitStack() as other:
        one.enter_context(FAULTS[first](cluster, draw))
        time.sleep(draw.uniform(0, APART_SECONDS))
        for second in seconds:
            with contextlib.suppress(*NOT_NOW):
                other.enter_context(FAULTS[second](cluster, draw))
                cluster.history.now("overlap", names=[first, second])
                break
        yield
        draw.choice((one, other)).close()
        time.sleep(draw.uniform(0, APART_SECONDS))
