"""A stack's Ray cluster as manifests for Kubernetes with the KubeRay operator.

The same images, resources, ports, tokens and fault tolerance of the GCS. KubeRay makes the `ray start` commands, joins
the workers to the head and restarts both, so this platform's own programs for that stay out: election, relay, gateway,
guard.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from components.ray import NO_TELEMETRY, shared_memory
from components.ray_limits import RAY_LIMITS
from components.redis import configuration
from config.platform import PlatformSettings
from config.ports import RAY_CLIENT, RAY_DASHBOARD, RAY_GCS, REDIS
from config.services import RayNodeSettings, ServiceSettings
from config.yaml_file import Dumper
from contracts.ray_memory import object_store

Json = dict[str, Any]
NEEDED_VERSION = "1.6"  # of KubeRay: the first whose clusters take the name of the secret with Ray's token
TOKEN_KEY, PASSWORD_KEY = "auth_token", "redis-password"  # in the secret; KubeRay gives the first its name
MEBIBYTE = 2**20
# Ray's own monitor stays on: the guard that replaces it on plain hosts is not in a pod.
WITHOUT_GUARD = {name: value for name, value in RAY_LIMITS.items() if name != "RAY_memory_monitor_refresh_ms"}
HOME, SCRATCH, SHM, TMP = "/home/cslr", "/scratch", "/dev/shm", "/tmp"  # noqa: S108 - in containers
START_REDIS = """\
umask 077
{ cat /etc/cslr/redis.conf; printf 'requirepass "%s"\\n' "$REDIS_PASSWORD"; } > /tmp/redis.conf
exec redis-server /tmp/redis.conf
"""
PING = f'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -p {REDIS} ping | grep -q PONG'
CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What is written of a stack."""

    name: str  # of every object: cslr-dev
    settings: PlatformSettings
    images: Mapping[str, str]  # service → name of its image in a registry that the Kubernetes nodes reach
    ray: str  # version
    gpus: int  # of each pod of ray-gpu
    replicas: int = 1  # pods of each group of workers

    @property
    def secret(self) -> str:
        """The name of the secret with Ray's token and Redis's password, which is made from files of this host."""
        return f"{self.name}-ray"

    @property
    def nodes(self) -> dict[str, ServiceSettings]:
        """The Ray nodes, the one that becomes the head first."""
        return {name: self.settings.service(name) for name in ray_nodes(self.settings)}


def ray_nodes(settings: PlatformSettings) -> tuple[str, ...]:
    """Names of a host's Ray nodes, the one that becomes the head first."""
    head = ("ray-head",) if settings.ray.head.enabled else settings.head_candidates
    return tuple(dict.fromkeys((*head, *settings.ray_nodes)))


class _Text(Dumper):
    """Writes for people: scripts line by line, and no references from one part to another."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base class's
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Text.add_representer(str, _text)


def text_of(exported: Exported, *, header: str) -> str:
    """The manifests as one file of several documents."""
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + yaml.dump_all(manifests(exported), Dumper=_Text, sort_keys=False, width=120, explicit_start=True)


def manifests(exported: Exported) -> list[Json]:
    """Redis with its volume, and the Ray cluster."""
    return [*_redis(exported), _cluster(exported)]


def _cluster(exported: Exported) -> Json:
    head, *workers = exported.nodes
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": _metadata(exported, exported.name, "ray"),
        "spec": {
            "rayVersion": exported.ray,
            "authOptions": {"mode": "token", "secretName": exported.secret},
            "gcsFaultToleranceOptions": {
                "redisAddress": f"{_redis_name(exported)}:{REDIS}",
                "redisPassword": {"valueFrom": _secret(exported, PASSWORD_KEY)},
            },
            "headGroupSpec": {
                "rayStartParams": {"dashboard-host": "0.0.0.0", **_start(exported, head)},  # noqa: S104 - of the pod
                "template": _pod(exported, head, ports={"gcs-server": RAY_GCS, "dashboard": RAY_DASHBOARD}),
            },
            "workerGroupSpecs": [
                {
                    "groupName": name,
                    "replicas": exported.replicas,
                    "minReplicas": exported.replicas,
                    "maxReplicas": exported.replicas,
                    "rayStartParams": _start(exported, name),
                    "template": _pod(exported, name),
                }
                for name in workers
            ],
        },
    }


def _start(exported: Exported, name: str) -> dict[str, str]:
    """Parameters of `ray start`, all of which are texts. GPUs are taken from the pod's limits."""
    node = exported.nodes[name]
    return {
        "num-cpus": str(node.logical_cpus if isinstance(node, RayNodeSettings) else 0),
        "object-store-memory": str(object_store(node.memory)),
        "temp-dir": f"{SCRATCH}/ray",
    }


def _pod(exported: Exported, name: str, ports: Mapping[str, int] | None = None) -> Json:
    node = exported.nodes[name]
    named = {**ports, "client": RAY_CLIENT} if ports else {}
    folders = {
        SHM: {"medium": "Memory", "sizeLimit": _mebibytes(_shared_memory(node))},
        TMP: {},
        SCRATCH: {},
        HOME: {},
    }
    volumes = {path: path.strip("/").replace("/", "-") for path in folders}
    container = {
        "name": name,
        "image": exported.images[name],
        "resources": _resources(node, exported.gpus if exported.settings.gpus_of(name) else 0),
        **({"ports": [{"name": port, "containerPort": number} for port, number in named.items()]} if named else {}),
        "env": [{"name": key, "value": value} for key, value in _environment(node).items()],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": volume, "mountPath": path} for path, volume in volumes.items()],
    }
    return {
        "metadata": {"labels": _labels(exported, name)},
        "spec": {
            "securityContext": _security(node),
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": volumes[path], "emptyDir": kind} for path, kind in folders.items()],
        },
    }


def _shared_memory(node: ServiceSettings) -> int:
    return shared_memory(node.memory, node.shm if isinstance(node, RayNodeSettings) else None)


def _environment(node: ServiceSettings) -> dict[str, str]:
    own = {"HOME": HOME, "TMPDIR": SCRATCH, **WITHOUT_GUARD, **NO_TELEMETRY}
    return dict(sorted({**own, **node.env}.items()))


def _redis(exported: Exported) -> list[Json]:
    """One server with a volume; the GCS that comes after a failed one reads its state there."""
    settings, name = exported.settings.redis, _redis_name(exported)
    labels = _labels(exported, "redis")
    container = {
        "name": "redis",
        "image": exported.images["redis"],
        "command": ["sh", "-c", START_REDIS],
        "env": [{"name": "REDIS_PASSWORD", "valueFrom": _secret(exported, PASSWORD_KEY)}],
        "ports": [{"name": "redis", "containerPort": REDIS}],
        "resources": _resources(settings),
        "readinessProbe": {"exec": {"command": ["sh", "-c", PING]}, "periodSeconds": 5, "timeoutSeconds": 5},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": TMP},
            {"name": "configuration", "mountPath": "/etc/cslr", "readOnly": True},
        ],
    }
    pod = {
        "metadata": {"labels": labels},
        "spec": {
            "securityContext": _security(settings),
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [
                {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                {"name": "configuration", "configMap": {"name": name}},
            ],
        },
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": _metadata(exported, name, "redis"),
            "data": {"redis.conf": configuration(settings.memory, paired=False)},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(exported, name, "redis"),
            "spec": {"selector": labels, "ports": [{"name": "redis", "port": REDIS}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": _metadata(exported, name, "redis"),
            "spec": {
                "serviceName": name,
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": pod,
                "volumeClaimTemplates": [claim],
            },
        },
    ]


def _redis_name(exported: Exported) -> str:
    return f"{exported.name}-redis"


def _resources(service: ServiceSettings, gpus: int = 0) -> Json:
    """Requests are the limits: a pod is then killed last where memory runs out."""
    found = {"cpu": f"{service.cpus:g}", "memory": _mebibytes(service.memory)}
    found |= {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {"requests": found, "limits": dict(found)}


def _mebibytes(size: int) -> str:
    return f"{size // MEBIBYTE}Mi"


def _security(service: ServiceSettings) -> Json:
    user, group = map(int, service.user.split(":"))
    return {
        "runAsUser": user,
        "runAsGroup": group,
        "fsGroup": group,
        "runAsNonRoot": user != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _secret(exported: Exported, key: str) -> Json:
    return {"secretKeyRef": {"name": exported.secret, "key": key}}


def _metadata(exported: Exported, name: str, component: str) -> Json:
    return {"name": name, "labels": _labels(exported, component)}


def _labels(exported: Exported, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": exported.name,
        "app.kubernetes.io/part-of": "cslr",
    }
