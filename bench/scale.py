"""Measures the cost of a growing number of hosts: ``python -m bench.scale``.

Hosts are played against one real Redis on this machine, without Ray: each with three connections, and the calls of its
gateway and its node as often as those make them. Beside that, what one call of each kind costs Redis itself, which no
load on this machine distorts. Bounded: some 15 s for each number of hosts.
"""

import argparse
import contextlib
import json
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from bench.document import machine, version_of, write_section
from bench.scale_members import FACTS, WATCHES
from components.redis import CONFIGURATION
from coordination.lease import RETRY_SECONDS, Grant, Lease, Member
from coordination.membership import read_membership, read_state
from coordination.redis_client import Address, RedisLink
from testing.harness import deploy

DOCUMENT = Path(__file__).parent.parent / "docs" / "scale.md"
NAMESPACE = "cslr-scale"
HOSTS = (10, 100, 300, 1000)
PATIENCE_SECONDS = 10.0  # thousands of threads waking at the same time slow down this process, not Redis
SETTLE_SECONDS, MEASURE_SECONDS, FOLLOW_SECONDS = 3.0, 8.0, 5.0
PROCESS_HOSTS = 250  # of one process that plays hosts
CALLS = 50  # of each kind, for its cost
GCS = Address("10.0.0.1", 6385)


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load on Redis with a number of hosts."""

    hosts: int
    commands: float  # a second, those within scripts counted
    cpu: float  # of one core
    sent: float  # MB/s
    renewal: tuple[float, float]  # ms: median and worst, of the leader
    look: tuple[float, float]  # ms: median and 99 %, of a gateway
    granted: float  # ms from the release of the lease to the next grant
    followed: float  # ms from the announcement of the new head until the last gateway had seen it
    failures: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Microseconds of Redis for one call, with a number of hosts."""

    hosts: int
    look: float
    report: float
    renew: float
    membership: float
    state: float
    state_bytes: int


Result = TypeVar("Result", Load, Costs)


@dataclass(frozen=True, kw_only=True)
class Redis:
    """A separate Redis for this measurement, configured like the platform's."""

    address: Address
    password: str
    password_file: Path

    def link(self) -> RedisLink:
        """A client of it."""
        return RedisLink((self.address,), self.password, timeout=PATIENCE_SECONDS)

    def info(self, link: RedisLink, section: str) -> dict[str, str]:
        """Its INFO."""
        lines = str(link.command("INFO", section)).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def main() -> int:
    """Measures, and writes the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=HOSTS, metavar="NUMBER", help="(default: %(default)s)")
    parser.add_argument("--watch", choices=WATCHES, default=WATCHES[0], help="what each node asks Redis for")
    parser.add_argument("--print", action="store_true", help="only print it")
    options = parser.parse_args()
    preview_seconds(2)  # imports are not measured
    previews = [(hosts, preview_seconds(hosts)) for hosts in options.hosts]
    with redis_server() as redis:
        costs = [costs_among(redis, hosts) for hosts in options.hosts]
        loads = [load_of(redis, hosts, options.watch) for hosts in options.hosts]
    text = document(loads, costs, previews)
    print(text)
    if not options.print:
        write_section("scale", text, document=DOCUMENT)
    return 0


@contextlib.contextmanager
def redis_server() -> Iterator[Redis]:
    """Starts it, and ends it."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address, password = Address("127.0.0.1", probe.getsockname()[1]), secrets.token_hex(16)
        probe.close()
        configuration = CONFIGURATION.replace("dir /data", f"dir {folder}")
        configuration = re.sub(r"^port .*$", f"port {address.port}", configuration, flags=re.MULTILINE)
        (Path(folder) / "redis.conf").write_text(f'{configuration}requirepass "{password}"\nmaxclients 20000\n')
        (Path(folder) / "password").write_text(password)
        server = subprocess.Popen(["redis-server", f"{folder}/redis.conf"], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            redis = Redis(address=address, password=password, password_file=Path(folder) / "password")
            while not address.answers():
                time.sleep(0.05)
            yield redis
        finally:
            server.terminate()
            server.wait()


def costs_among(redis: Redis, hosts: int) -> Costs:
    """What each kind of call costs with a number of hosts."""
    link = redis.link()
    link.command("FLUSHALL")
    lease = Lease(link, NAMESPACE)
    grant = lead(lease, "host-0000")
    for number in range(hosts):
        lease.report(member(number))
    state_before = int(redis.info(link, "stats")["total_net_output_bytes"])
    read_state(link, NAMESPACE)
    state_bytes = int(redis.info(link, "stats")["total_net_output_bytes"]) - state_before
    return told(
        Costs(
            hosts=hosts,
            look=cost(redis, link, lease.look),
            report=cost(redis, link, lambda: lease.report(member(0))),
            renew=cost(redis, link, lambda: lease.renew(grant)),
            membership=cost(redis, link, lambda: read_membership(link, NAMESPACE, "host-0000-ray-cpu")),
            state=cost(redis, link, lambda: read_state(link, NAMESPACE)),
            state_bytes=state_bytes,
        )
    )


def told(result: Result) -> Result:
    """The same, said at once: it may be the last before something fails."""
    print(result, file=sys.stderr)
    return result


def cost(redis: Redis, link: RedisLink, call: Callable[[], object]) -> float:
    """Microseconds of Redis for one call, as Redis counts them."""
    call()  # its script is known
    link.command("CONFIG", "RESETSTAT")
    for _ in range(CALLS):
        call()
    fields = dict(part.split("=") for part in redis.info(link, "commandstats")["cmdstat_evalsha"].split(","))
    return float(fields["usec_per_call"])


def load_of(redis: Redis, hosts: int, watch: str) -> Load:
    """Redis while a number of hosts are up and one of them leads; at the end the lead is handed over."""
    redis.link().command("FLUSHALL")
    players = [
        start_players(redis, first, min(PROCESS_HOSTS, hosts - first), watch)
        for first in range(0, hosts, PROCESS_HOSTS)
    ]
    try:
        return told(measured(redis, hosts, players))
    finally:
        for player in players:
            player.kill()
            player.wait()


def measured(redis: Redis, hosts: int, players: Sequence[subprocess.Popen[str]]) -> Load:
    """The figures of Redis and its clients, once all simulated hosts run."""
    link, control = redis.link(), redis.link()
    for player in players:
        if not player.stdout or player.stdout.readline() != "started\n":
            raise RuntimeError("hosts could not be played")
    lease = Lease(link, NAMESPACE)
    grant = lead(lease, "host-0000")
    renewing(lease, grant, SETTLE_SECONDS)
    before, began = counters(redis, control), time.monotonic()
    renewals = renewing(lease, grant, MEASURE_SECONDS)
    after, passed = counters(redis, control), time.monotonic() - began
    released = time.monotonic()
    lease.release(grant, "moved")
    successor = lead(Lease(redis.link(), NAMESPACE), "host-0001")
    granted = time.monotonic()
    time.sleep(FOLLOW_SECONDS)
    answers = [json.loads(player.communicate(timeout=60)[0]) for player in players]
    looks = sorted(call for answer in answers for call in answer["looks"])
    seen = [heads.get(str(successor.epoch)) for answer in answers for heads in answer["heads"]]
    if None in seen:
        raise RuntimeError(f"{seen.count(None)} of {hosts} hosts did not see the new head within {FOLLOW_SECONDS:g} s")
    return Load(
        hosts=hosts,
        commands=(after["total_commands_processed"] - before["total_commands_processed"]) / passed,
        cpu=sum(after[key] - before[key] for key in ("used_cpu_user", "used_cpu_sys")) / passed,
        sent=(after["total_net_output_bytes"] - before["total_net_output_bytes"]) / passed / 1e6,
        renewal=(1000 * median(renewals), 1000 * max(renewals)),
        look=(1000 * median(looks), 1000 * looks[int(0.99 * len(looks))]),
        granted=1000 * (granted - released),
        followed=1000 * (max(moment for moment in seen if moment) - granted),
        failures=sum(answer["failures"] for answer in answers),
    )


def start_players(redis: Redis, first: int, count: int, watch: str) -> subprocess.Popen[str]:
    """A process that simulates some of the hosts."""
    arguments = [redis.address, redis.password_file, NAMESPACE, first, count, watch]
    command = [sys.executable, "-m", "bench.scale_members", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def lead(lease: Lease, host: str) -> Grant:
    """Takes the lease as soon as it is available, and announces a head."""
    while not isinstance(grant := lease.acquire(host, "bench"), Grant):
        time.sleep(0.01)
    lease.announce(grant, GCS, GCS, GCS, {"ray": "2.60.0", "python": "3.14.0", "cuda": "13.0"})
    return grant


def renewing(lease: Lease, grant: Grant, seconds: float) -> list[float]:
    """Renews as an agent does; how long each renewal took."""
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        if not lease.renew(grant).held:
            raise RuntimeError("the lease was lost")
        took.append(time.monotonic() - began)
        time.sleep(RETRY_SECONDS / 4)
    return took


def counters(redis: Redis, link: RedisLink) -> dict[str, float]:
    """What Redis has counted so far."""
    said = {**redis.info(link, "stats"), **redis.info(link, "cpu")}
    keys = ("total_commands_processed", "total_net_output_bytes", "used_cpu_user", "used_cpu_sys")
    return {key: float(said[key]) for key in keys}


def member(number: int) -> Member:
    """The report of a host's gateway."""
    return Member(f"host-{number:04}", "10.0.0.1", candidate=True, sees=1, blind=0, facts=FACTS)


def preview_seconds(hosts: int) -> float:
    """The program's own CPU time for the stack of one host of a large cluster, without any outside call."""
    names = [f"host-{number:04}" for number in range(hosts)]
    addresses = [f"10.8.{number // 250}.{number % 250 + 1}" for number in range(hosts)]
    cluster = {
        "name": "scale",
        "hosts": {name: {"address": address} for name, address in zip(names, addresses, strict=True)},
        "head_whitelist": names[:3],
        "redis": {"host": names[-1], "replica": names[-2]},
    }
    with tempfile.TemporaryDirectory() as state:
        began = time.process_time()
        deploy({}, state_home=Path(state), stack=names[0], preview=True, cluster=cluster)
        return time.process_time() - began


def document(loads: Sequence[Load], costs: Sequence[Costs], previews: Sequence[tuple[int, float]]) -> str:
    """The measured part of docs/scale.md."""
    host = "; ".join(f"{name}: {value}" for name, value in machine().items())
    lines = [
        f"{host}; {version_of('redis-server', '--version').split(' sha')[0]}.",
        "",
        "Redis while that many hosts are up, each with the calls of its gateway and of one node; at the end the lead "
        "is "
        "handed over. Hosts, Redis and everything else of the machine share its cores: latencies are upper bounds.",
        "",
        "| hosts | commands/s | Redis, of one core | sent, MB/s | renewal, ms: median, worst | a gateway's look, ms: "
        "median, 99 % | lease handed over, ms | all gateways follow, ms | failed calls |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {load.hosts} | {load.commands:,.0f} | {load.cpu:.1%} | {load.sent:.2f} | {load.renewal[0]:.1f}, "
        f"{load.renewal[1]:.1f} | {load.look[0]:.1f}, {load.look[1]:.1f} | {load.granted:.1f} | {load.followed:.0f} "
        f"| {load.failures} |"
        for load in loads
    ]
    lines += [
        "",
        "What one call costs Redis, by its own count, with that many hosts reporting:",
        "",
        "| hosts | look, µs | report, µs | a node's membership, µs | renewal, µs | whole state, µs | whole state, kB |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cost.hosts} | {cost.look:.0f} | {cost.report:.0f} | {cost.membership:.0f} | {cost.renew:,.0f} "
        f"| {cost.state:,.0f} | {cost.state_bytes / 1000:,.0f} |"
        for cost in costs
    ]
    lines += [
        "",
        "The program's own CPU time for a preview of one host, with that many hosts in the cluster file:",
        "",
        "| hosts in the block | s |",
        "|---|---|",
        *(f"| {hosts} | {seconds:.2f} |" for hosts, seconds in previews),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
