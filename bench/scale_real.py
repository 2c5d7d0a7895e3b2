"""Measures the load of three real hosts on Redis, the GCS and the gateways: ``python -m bench.scale_real``.

The hosts are those of tests/cluster: namespaces of this machine, each with a Docker Engine of its own, and Ray.
Measured while the cluster is idle, and while a client runs a task a second on each host and calls an actor there.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.document import machine, write_section
from config.ports import HEAD_FLAGS, HOST_RAY_PORTS
from testing.cluster.cluster import CANDIDATES, REDIS_HOST, Cluster

DOCUMENT = Path(__file__).parent.parent / "docs" / "scale.md"
SETTLE_SECONDS = 30.0  # Ray's dashboards and agents begin with a lot of work
GCS_PORT = HOST_RAY_PORTS["ray-head"][HEAD_FLAGS["gcs"]]
ESTABLISHED = "01"  # in /proc/net/tcp
GCS, WORKER, HEALTH_CHECK = "gcs_server", "ray::", " health"  # in command lines


@dataclass(frozen=True, kw_only=True)
class Use:
    """What was used in a time."""

    name: str
    redis: float  # of one core
    commands: float  # a second
    sent: float  # kB a second
    redis_connections: int
    gcs: float  # of one core
    gcs_connections: int
    workers: int  # processes of all hosts' nodes
    gateways: float  # of one core, for each host
    agents: float  # of one core, for each host that may lead: the agent, leading or in waiting, and its watchdog


def main() -> int:
    """Measures, and writes the document."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale_real", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement (default: %(default)s)")
    seconds = parser.parse_args().seconds
    host = "; ".join(f"{name}: {value}" for name, value in machine().items())
    with Cluster.make(Path(tempfile.gettempdir(), "cslr-cluster")) as cluster:
        cluster.up_all()
        time.sleep(SETTLE_SECONDS)
        uses = [measured(cluster, "it is idle", seconds)]
        with cluster.observed():
            time.sleep(SETTLE_SECONDS)
            uses.append(measured(cluster, "tasks and calls", seconds))
    command = " ".join(["python -m bench.scale_real", *sys.argv[1:]])
    text = "\n".join([*table(uses), "", f"{host}. Command: `{command}`."])
    print(text)
    write_section("scale_real", text, document=DOCUMENT)
    return 0


def measured(cluster: Cluster, name: str, seconds: float) -> Use:
    """Samples twice, that many seconds apart."""
    leader = cluster.leader()
    watched = {
        "redis": processes(cluster, [REDIS_HOST], "redis", "redis-server"),
        "gcs": processes(cluster, [leader], "ray-head", GCS),
        "gateways": processes(cluster, cluster.hosts, "ray-gateway", "entrypoints.gateway.gateway"),
        "agents": processes(cluster, CANDIDATES, "ray-head", "entrypoints.ray.agent"),
    }
    began, cpu, info = time.monotonic(), spent(watched), cluster.view.redis.info()
    time.sleep(seconds)
    passed, cpu_after, info_after = time.monotonic() - began, spent(watched), cluster.view.redis.info()
    core = {key: (cpu_after[key] - cpu[key]) / passed for key in watched}

    def rate(key: str) -> float:
        return float(info_after[key] - info[key]) / passed

    return Use(
        name=name,
        redis=core["redis"],
        commands=rate("total_commands_processed"),
        sent=rate("total_net_output_bytes") / 1000,
        redis_connections=info_after["connected_clients"],
        gcs=core["gcs"],
        gcs_connections=connections(watched["gcs"][0], GCS_PORT),
        workers=len(processes(cluster, cluster.hosts, "ray-cpu", WORKER)),
        gateways=core["gateways"] / len(cluster.hosts),
        agents=core["agents"] / len(CANDIDATES),
    )


def processes(cluster: Cluster, names: Iterable[str], service: str, program: str) -> list[int]:
    """The processes of a service with `program` in their command lines, on these hosts; those that stay."""
    return [
        pid
        for name in names
        for pid, command in cluster.hosts[name].processes(cluster.container(name, service)).items()
        if program in command and not command.endswith(HEALTH_CHECK)
    ]


def spent(watched: dict[str, list[int]]) -> dict[str, float]:
    """Processor seconds."""
    times = {key: [psutil.Process(pid).cpu_times() for pid in pids] for key, pids in watched.items()}
    return {key: sum(each.user + each.system for each in of_key) for key, of_key in times.items()}


def connections(pid: int, port: int) -> int:
    """Connections from outside to a port of a process, which may be in another network namespace."""
    lines = [line for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()]
    fields = map(str.split, lines)
    return sum(field[3] == ESTABLISHED and field[1].endswith(f":{port:04X}") for field in fields)


def table(uses: Iterable[Use]) -> list[str]:
    """The section."""
    lines = [
        "| three hosts, while | Redis, of one core | commands/s | sent, kB/s | connections to Redis | GCS, of one core "
        "| connections to the GCS | worker processes | a gateway, of one core "
        "| an agent and its watchdog, of one core |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for use in uses:
        cells = (
            use.name, f"{use.redis:.1%}", f"{use.commands:.0f}", f"{use.sent:.1f}", str(use.redis_connections),
            f"{use.gcs:.1%}", str(use.gcs_connections), str(use.workers), f"{use.gateways:.1%}", f"{use.agents:.1%}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
