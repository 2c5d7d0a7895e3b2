"""Runs one Ray node: determines its role, starts Ray, supervises it and stops it cleanly.

On one host it becomes head or worker (single_host.py); over several hosts it is always a worker (worker.py). Runs in
every Ray container, with our images and with pulled ones: standard library only, Python 3.10 or newer.

    -m entrypoints.ray.node [run]                   start `ray start --block`, supervise it (0 after a clean stop)
    -m entrypoints.ray.node health                  0 if this node serves or has reason to wait; else 1 and the reason
    -m entrypoints.ray.node drain NODE --seconds N  make Ray give a node of the cluster no new work; it has N
                                                    seconds to finish; one line of JSON: node_id, accepted, reason

Settings: NodeSettings of contracts/ray_node.py. `run` writes its role to a file for the other subcommands.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contracts.document import load_settings
from contracts.ray_node import NodeConfig, NodeSettings
from contracts.ray_nodes import NODE_LABEL
from coordination.errors import NodeError, read_secret
from coordination.lease import RETRY_SECONDS, Lease, ray_namespace
from coordination.redis_client import Address, RedisLink
from entrypoints.command_line import dispatch
from entrypoints.gpu_devices import cut_off
from entrypoints.ray.command import (
    AGENT_PORT,
    CLIENT_PORT,
    DASHBOARD_PORT,
    GCS_PORT,
    for_ray,
    head_environment,
    hidden_from_tasks,
    link_to,
    start_arguments,
    worker_environment,
)
from entrypoints.ray.container import own_address, state_folder
from entrypoints.ray.jobs import Jobs, end_lost_jobs
from entrypoints.ray.launcher import begin, prepare
from entrypoints.ray.node_guard import STATE_FILE, Guard, token
from entrypoints.ray.redis_relay import GCS_ENVIRONMENT, RelayProcess
from entrypoints.ray.scratch import Layout, prepare_folders
from entrypoints.ray.single_host import OneHostElection, Question, Role, http_failure
from entrypoints.ray.supervision import Stop, adopt_orphans, end_descendants, say, supervise
from entrypoints.ray.worker import Cluster, ElectedCluster, StaticHead, Worker, passes_on

WATCH_SECONDS = 2.0  # interval at which a worker checks that its cluster is still the same
HEALTH_SECONDS = 3.0  # for one answer
GCS_SECONDS = 10  # for one answer to `drain`
# Imported when needed, without types: the module behind `ray drain-node`, since Ray has no public API to drain a node.
RAY_MODULES = ("ray._raylet", "ray.core.generated.gcs_pb2", "ray.core.generated.autoscaler_pb2")


# ------------------------------------------------------------------------------------------------------- state


@dataclass(frozen=True)
class NodeState:
    """The state that ``run`` writes for the other subcommands."""

    role: str  # waiting, drained, head or worker
    reason: str = ""  # why the node waits or stays out
    gcs: str = ""  # host:port of the head, as this node reaches it
    dashboard: str = ""  # the same of the head's dashboard

    def write(self) -> None:
        """Write the state in place of the previous one."""
        draft = state_file().with_suffix(".draft")
        draft.write_text(json.dumps(vars(self)), encoding="utf-8")
        draft.replace(state_file())


def state_file() -> Path:
    """Return the file with the state."""
    return state_folder() / STATE_FILE


def read_state() -> NodeState:
    """Return the last written state."""
    try:
        return NodeState(**json.loads(state_file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return NodeState("waiting", "not started yet")


# --------------------------------------------------------------------------------------------------------- run


def run() -> int:
    """Determine the role, start Ray, supervise it; see the module."""
    stop = Stop()
    for signalled in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signalled, stop.set)
    settings = load_settings(NodeSettings, os.environ)
    prepare_folders(Layout(settings.guard.service) if settings.node.temp_dir else None)
    if settings.guard.token_file:
        read_secret(settings.guard.token_file, "Ray's authentication token")
    NodeState("waiting", "starting").write()
    link = link_to(settings.redis)
    adopt_orphans()
    # It imports Ray while this node determines its role.
    ray = prepare(for_ray(os.environ), hidden_from_tasks(settings.redis))
    guard = Guard(settings.guard)
    try:
        if settings.gateway:
            return run_worker(settings, Address.parse(settings.gateway, "gateway"), link, ray, stop, guard)
        return run_on_one_host(settings, link, ray, stop, guard)
    finally:
        end_descendants(grace=0.0)


def run_worker(
    settings: NodeSettings,
    gateway: Address,
    link: RedisLink,
    ray: subprocess.Popen[bytes],
    stop: Stop,
    guard: Guard,
) -> int:
    """Run as a worker of a cluster over several hosts."""
    node, namespace = settings.node, settings.redis.namespace
    name = node.name
    cluster: Cluster
    if settings.static_head:
        cluster = StaticHead(link, namespace, name)
        say(f"election is off: the head is {settings.static_head}, as head_address says")
    else:
        cluster = ElectedCluster(link, namespace, name, settings.candidates)
    worker = Worker(name, node.host, cluster, gateway, stop)
    if not worker.wait_for_head(lambda reason: NodeState("waiting", reason).write()):
        return 0
    say(f"{name} joins the head by way of {gateway}")
    NodeState("worker", gcs=str(gateway)).write()
    begin(ray, start_arguments(node, str(gateway)), worker_environment(os.environ))
    can_drain = lambda: passes_on(gateway)  # noqa: E731
    return supervise(ray, stop, worker.reason_to_end, WATCH_SECONDS, can_drain, guard.replace_ended)


def run_on_one_host(
    settings: NodeSettings, link: RedisLink, ray: subprocess.Popen[bytes], stop: Stop, guard: Guard
) -> int:
    """Run as head or worker among the nodes of one host."""
    node = settings.node
    name = node.name
    question = Question(
        name=name,
        candidates=settings.candidates,
        head=Address.parse(settings.static_head, "head_address") if settings.static_head else None,
        health_url=settings.health_url,
        health_timeout=settings.health_timeout,
        deadline=settings.deadline,
        ports=node.ports,
    )
    relay = RelayProcess()
    election = OneHostElection(question, Lease(link, settings.redis.namespace), stop, relay.log_in_as)
    role = election.decide(
        lambda reason: NodeState("drained" if reason else "waiting", reason or "let in again").write()
    )
    if role is None:
        return 0
    try:
        if role.head:
            say(f"{name} is a worker of {role.head}")
            dashboard = f"{role.head.host}:{node.ports[DASHBOARD_PORT]}"
            NodeState("worker", gcs=str(role.head), dashboard=dashboard).write()
            begin(ray, start_arguments(node, str(role.head)), worker_environment(os.environ))
        else:
            say(f"{name} is head")
            gcs_port, dashboard_port = node.ports[GCS_PORT], node.ports[DASHBOARD_PORT]
            NodeState("head", gcs=f"{name}:{gcs_port}", dashboard=f"127.0.0.1:{dashboard_port}").write()
            begin(ray, *start_of_head(settings, link.address, relay.start(link.address), role))
            jobs = Jobs(lambda: f"127.0.0.1:{dashboard_port}", token(settings.guard.token_file))
            lost = (jobs, node.ports[AGENT_PORT], threading.Event())
            threading.Thread(target=end_lost_jobs, args=lost, daemon=True).start()
        gcs = role.head or Address("127.0.0.1", node.ports[GCS_PORT])
        return supervise(ray, stop, election.keep, RETRY_SECONDS, gcs.answers, guard.replace_ended)
    finally:
        end_descendants(grace=0.0)
        election.release()


def start_of_head(
    settings: NodeSettings, redis: Address, relay: Address, role: Role
) -> tuple[list[str], dict[str, str]]:
    """Return arguments and environment of a head's ``ray start``, whose GCS reaches Redis through a relay."""
    assert role.grant  # noqa: S101  (a head)
    assert role.credentials  # noqa: S101
    node = with_address(settings.node, own_address(redis.host), own_address(None))
    namespace = ray_namespace(settings.redis.namespace, role.grant.incarnation)
    login = (role.credentials.username, role.credentials.password)
    environment = GCS_ENVIRONMENT | head_environment(os.environ, str(relay), namespace, *login)
    return start_arguments(node, None), environment


def with_address(node: NodeConfig, to_redis: str | None, default: str | None) -> NodeConfig:
    """Return a head's config, with an address only if Ray would choose one that the cluster's network does not know.

    A head's Ray takes the address on the default route. On a bridge that is the container's only address, which Docker
    may change at every start, so it is not set there. A host with several networks, or without a default route,
    needs it. A worker's Ray takes the address on the route to the head, which other nodes can reach.
    """
    return node if node.address or to_redis is None or to_redis == default else replace(node, address=to_redis)


# ------------------------------------------------------------------------------------------- other subcommands


def health() -> int:
    """Check the endpoints of the node's role; 0 or 1 with the reason on stdout.

    Over several hosts a waiting node is healthy: a restart would not help it, and a deployment must not wait for hosts
    that are deployed later. A drained node is healthy too.
    """
    settings, state = load_settings(NodeSettings, os.environ), read_state()
    ports = settings.node.ports
    if state.role in ("waiting", "drained"):
        print(f"{state.role}: {state.reason}")
        return 0 if settings.gateway or state.role == "drained" else 1
    failures = [http_failure(ports[AGENT_PORT], "/api/healthz", HEALTH_SECONDS)]
    if state.role == "head":
        failures.append(http_failure(ports[DASHBOARD_PORT], "/api/gcs_healthz", HEALTH_SECONDS))
        if not Address("127.0.0.1", ports[CLIENT_PORT]).answers():
            failures.append(f"the Ray Client port {ports[CLIENT_PORT]} is closed")
    if settings.node.gpus and cut_off():
        failures.append("this container lost its GPUs, as after `systemctl daemon-reload`: a restart gives them back")
    failures = [failure for failure in failures if failure]
    print("; ".join(failures) or state.role)
    return 1 if failures else 0


def drain(arguments: list[str]) -> int:
    """Make Ray give a node no new work; see the module. `ws` writes to Redis that the node must stay out."""
    parser = argparse.ArgumentParser(prog="ray_node drain")
    parser.add_argument("node")
    parser.add_argument("--seconds", type=int, default=0)
    options = parser.parse_args(arguments)
    gcs = load_settings(NodeSettings, os.environ).gateway or read_state().gcs
    if not gcs:
        raise NodeError("This node has not joined a head, so it cannot tell one to drain a node; use another node.")
    node_id, reason = drain_node(gcs, options.node, options.seconds)
    print(json.dumps({"node_id": node_id, "accepted": not reason, "reason": reason}))
    return 1 if reason else 0


def drain_node(gcs: str, name: str, seconds: int) -> tuple[str | None, str]:
    """Return the id of the node, and why it cannot be drained, if so.

    Ray gives a draining node no new work, but never ends it; the node does that itself, when it is in maintenance and
    its time is over.
    """
    raylet, gcs_pb2, autoscaler_pb2 = (importlib.import_module(name) for name in RAY_MODULES)
    alive = gcs_pb2.GcsNodeInfo.GcsNodeState.Value("ALIVE")
    try:
        client = raylet.GcsClient(address=gcs)
        nodes: list[Any] = list(client.get_all_node_info(timeout=GCS_SECONDS).values())
        node = next((n for n in nodes if n.labels.get(NODE_LABEL) == name and n.state == alive), None)
        if node is None:
            return None, f"the cluster has no node {name} that is alive"
        if node.is_head_node:
            return node.node_id.hex(), f"{name} is the head; a head moves, it is not drained"
        preemption = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = time.time_ns() // 1_000_000 + max(seconds, 1) * 1000
        accepted, refusal = client.drain_node(node.node_id.hex(), preemption, "drained by its operator", deadline)
        reason = "" if accepted else f"Ray refuses: {refusal}"
    except raylet.RpcError as error:
        node, reason = None, f"the head does not answer: {error}"
    return node.node_id.hex() if node else None, reason


def main(arguments: list[str]) -> int:
    """Do what the arguments say; see the module."""
    return dispatch({"run": run, "health": health, "drain": lambda: drain(arguments[1:])}, arguments, say)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
