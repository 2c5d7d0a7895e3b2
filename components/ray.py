"""RayNode: one Ray node, on CPUs or with GPUs.

Owns the container. Whether it becomes head or worker is decided inside it, at each start (entrypoints/ray_node.py);
the GCS state is in Redis.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.docker import ContainerSpec, GpuRequest, Healthcheck
from components.mlflow import MLflow
from components.ports import BRIDGE_RAY_PORTS, HEALTH, RAY_CLIENT, RAY_DASHBOARD, RAY_GCS, REDIS
from components.service import Host, Service, extra_mounts, run_module
from components.service_settings import RayNodeSettings, RaySettings

# Ray's default: the object store takes 30 % of the memory and needs a little more of /dev/shm (docs, object spilling).
SHARED_MEMORY = 0.33
# Session files and spilled objects; what is really used counts against the container's memory.
TEMPORARY_FILES = 0.5
# Ray drains for up to 30 s on SIGTERM (RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S), then its processes end.
STOP_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class RayNodeArgs:
    """Plain values, already validated, and what it depends on."""

    node: RayNodeSettings
    ray: RaySettings
    host: Host
    image: pulumi.Input[str]
    candidates: tuple[str, ...]  # nodes of this host that may become head, in order
    mlflow: MLflow | None  # where tasks log their runs; the node does not wait for it
    position: int  # gives the node its fixed address
    gpu: GpuRequest | None = None
    after: Sequence[pulumi.Resource] = ()


class RayNode(Service):
    """**Pulumi type** ``cslr:ray:RayNode``. Ready when its raylet (and GCS and client server, as head) are healthy."""

    address: str

    def __init__(self, name: str, args: RayNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:ray:RayNode", name, deployed_on=args.host, port=RAY_CLIENT, opts=opts)
        node, host = args.node, args.host
        self.address = host.network.fixed_address(args.position)
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("ray_node"),
                healthcheck=Healthcheck(command=run_module("ray_node", "health"), start_period=120),
                cpus=node.cpus,
                memory=node.memory,
                user=node.user,
                env={**node.env, **self._environment(name, args)},
                ports=(
                    *host.publish(RAY_GCS, node.ports.gcs),
                    *host.publish(RAY_DASHBOARD, node.ports.dashboard),
                    *host.publish(RAY_CLIENT, node.ports.client),
                ),
                mounts=(
                    *host.modules("ray_node", "ray_process"),
                    host.secrets.mount("ray-token", user=node.user),
                    host.secrets.mount("redis-password", user=node.user),
                    *extra_mounts(node.volumes),
                ),
                address=self.address,
                shm_bytes=int(node.memory * SHARED_MEMORY),
                tmp_bytes=int(node.memory * TEMPORARY_FILES),
                gpu=args.gpu,
                stop_seconds=STOP_SECONDS,
                wait_seconds=400,
            ),
            after=args.after,
        )

    def _environment(self, name: str, args: RayNodeArgs) -> dict[str, str]:
        return {
            "RAY_NODE_NAME": name,
            "RAY_NODE_CANDIDATES": ",".join(args.candidates),
            "RAY_NODE_HEAD_ADDRESS": args.ray.head_address or "",
            "RAY_NODE_HEALTH_URL": args.ray.health_url or f"http://health:{HEALTH}",
            "RAY_NODE_HEALTH_TIMEOUT": f"{args.ray.health_timeout:g}",
            "RAY_NODE_CPUS": str(logical_cpus(args.node.cpus)),
            "RAY_NODE_GPUS": gpu_count(args.gpu),
            "RAY_NODE_MEMORY": str(args.node.memory),
            "RAY_NODE_PORTS": json.dumps(dict(BRIDGE_RAY_PORTS)),
            "RAY_REDIS_ADDRESS": f"redis:{REDIS}",
            "RAY_external_storage_namespace": args.host.identity.prefix,
            **({"MLFLOW_TRACKING_URI": args.mlflow.url, "GIT_PYTHON_REFRESH": "quiet"} if args.mlflow else {}),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": "/run/secrets/ray-token",
        }


def logical_cpus(cpus: float) -> int:
    """How many CPUs a node offers to Ray: whole ones, and at least one."""
    return max(1, int(cpus))


def gpu_count(gpu: GpuRequest | None) -> str:
    """How many GPUs a node offers to Ray; ``auto`` lets Ray count what the container sees."""
    if gpu is None:
        return "0"
    return str(len(gpu.devices)) if gpu.devices else "auto"
