"""Arguments and environment of `ray start`, for a head and for a worker.

Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from contracts.datasets import AMOUNT, resource
from contracts.document import SETTINGS_VARIABLE
from contracts.ray_memory import SHM_SHARE, object_store, own_processes
from contracts.ray_node import NodeConfig
from contracts.ray_nodes import HOST_LABEL, NODE_LABEL
from contracts.redis import RedisAccess
from coordination.redis_client import Address, RedisLink
from coordination.redis_users import AGENT, Login
from entrypoints.log import logger
from entrypoints.ray.container import container_memory, shared_memory
from entrypoints.ray.launcher import HOOK, REDIS_PASSWORD, REDIS_USERNAME

HEAD_FLAGS = ("--port", "--ray-client-server-port", "--dashboard-port")  # ports that only a head has
GCS_PORT, CLIENT_PORT, DASHBOARD_PORT = HEAD_FLAGS
AGENT_PORT = "--dashboard-agent-listen-port"
OBJECT_STORE_MINIMUM = 80 * 1024**2  # bytes; Ray refuses less than 75 MiB
WORKER_RECONNECT_SECONDS = 600  # how long a worker outlives its head (Ray's default: 60; KubeRay uses this value)

say = logger("ray-node")


def start_arguments(node: NodeConfig, gcs_address: str | None) -> list[str]:
    """Return the arguments of ``ray start`` for a worker of the head at an address, or (None) for a head."""
    store, tasks = split_memory(node.memory or container_memory(), shared_memory())
    resources = {node.name: 1, **{resource(name): AMOUNT for name in node.datasets}}
    labels = {NODE_LABEL: node.name, **({HOST_LABEL: node.host} if node.host else {})}
    arguments = [
        "--block",
        "--log-color=false",
        f"--num-cpus={node.cpus:g}",
        *([] if node.gpus.count is None else [f"--num-gpus={node.gpus.count}"]),
        f"--object-store-memory={store}",
        f"--memory={tasks}",
        f"--labels={','.join(f'{key}={value}' for key, value in labels.items())}",
        f"--resources={json.dumps(resources)}",
        *([f"--node-ip-address={node.address}"] if node.address else []),
        *([f"--temp-dir={node.temp_dir}"] if node.temp_dir else []),
        *(f"{flag}={port}" for flag, port in node.ports.items() if gcs_address is None or flag not in HEAD_FLAGS),
    ]
    if gcs_address:
        return [*arguments, f"--address={gcs_address}"]
    return [*arguments, "--head", "--dashboard-host=0.0.0.0", "--disable-usage-stats"]


def split_memory(memory: int, shm: int) -> tuple[int, int]:
    """Split the container's memory (bytes) into object store and memory for tasks; warn if /dev/shm is small.

    The rest is for the node's own processes.
    """
    wanted = object_store(memory)
    store = max(min(wanted, int(shm * SHM_SHARE)), OBJECT_STORE_MINIMUM)
    if store < wanted or store > shm * SHM_SHARE:
        say(
            f"warning: /dev/shm has {shm >> 20} MiB, so the object store gets {store >> 20} MiB, "
            f"not {wanted >> 20} MiB; give this container shm_size {int(wanted / SHM_SHARE / 2**20) + 1}m."
        )
    return store, max(memory - own_processes(memory) - store, 0)


def link_to(redis: RedisAccess) -> RedisLink:
    """Return a connection to Redis. Raises NodeError without the password's file."""
    return Login(redis.user, redis.password_file).link(Address.parse_all(redis.addresses))


def hidden_from_tasks(redis: RedisAccess) -> Path | None:
    """Return the file of the password for the election, which must be hidden from tasks."""
    return redis.password_file if redis.user == AGENT else None


def for_ray(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the container's environment for Ray and its tasks: without this program's settings."""
    return {key: value for key, value in environment.items() if key != SETTINGS_VARIABLE}


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker's ``ray start``: it waits for a head that moves."""
    return {"RAY_gcs_rpc_server_reconnect_timeout_s": str(WORKER_RECONNECT_SECONDS), **for_ray(environment)}


def head_environment(
    environment: Mapping[str, str], redis: str, namespace: str, username: str, password: str
) -> dict[str, str]:
    """Return the environment of a head's ``ray start``: GCS state in Redis at host:port, under a Ray namespace."""
    return {
        **for_ray(environment),
        "RAY_START_HOOK": HOOK,
        "RAY_REDIS_ADDRESS": redis,
        "RAY_external_storage_namespace": namespace,
        # Otherwise a job's driver would run on the head, and end with it.
        "RAY_JOB_ALLOW_DRIVER_ON_WORKER_NODES": "1",
        REDIS_USERNAME: username,
        REDIS_PASSWORD: password,
    }
