"""Ports of the platform, as constants, so that every service and every preview knows them.

Two plans. On the bridge of one host (`single`) every container has an address of its own, so services share numbers and
the settings say what is published where. On the host network (`lan`) all Ray nodes of a host share its address: no port
stands twice, and none is left to chance, so that a firewall can know them. All are below the ephemeral ports of the
kernel (32768 and above), which it gives away, but for one that an older plan fixed on the bridge.
"""

from collections.abc import Iterator, Mapping

# Inside the bridge network.
REDIS = 6379
POSTGRES = 5432
MLFLOW = 5000
MARIMO = 8080
HEALTH = 8888
EXPORTER = 8080
PROMETHEUS = 9090
ALERTMANAGER = 9093
GRAFANA = 3000
REDIS_EXPORTER = 9121
POSTGRES_EXPORTER = 9187
QUEUE = 8070
DEVEL = 2222
TRANSCRIPTION = 8090
TRANSCRIPTION_FRONTEND = 8091
TLS_PING = 8099  # on the loopback of its container; the next one if a service is published on it

# Where workers and clients look for Ray's head, in both plans: on the bridge the head itself, else the gateway.
RAY_GCS = 6379
RAY_DASHBOARD = 8265
RAY_CLIENT = 10001

# The address of the gateway that GCS clients are given. Ray turns 127.0.0.1 into an address of the host and tells that
# to other nodes; it leaves 127.0.0.2 alone, the local gateway on every host.
GATEWAY_LOOPBACK = "127.0.0.2"

# Flags of `ray start` that only a head is given; the others are every node's.
HEAD_FLAGS = {"gcs": "--port", "client": "--ray-client-server-port", "dashboard": "--dashboard-port"}
METRICS_FLAG = "--metrics-export-port"
NODE_FLAGS = (
    "--node-manager-port",
    "--object-manager-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
    METRICS_FLAG,
    "--dashboard-agent-listen-port",
)
WORKER_PORTS = 1000
FIRST_WORKER, LAST_WORKER = "--min-worker-port", "--max-worker-port"


def _node_ports(first: int, workers: int) -> dict[str, int]:
    """The ports of one node: one after the other from `first`, and those of its worker processes from `workers`."""
    numbered = {flag: first + index for index, flag in enumerate(NODE_FLAGS)}
    return {**numbered, FIRST_WORKER: workers, LAST_WORKER: workers + WORKER_PORTS - 1}


# On the bridge: the same for every node, each of which may be head.
BRIDGE_RAY_PORTS: Mapping[str, int] = {
    HEAD_FLAGS["gcs"]: RAY_GCS,
    HEAD_FLAGS["client"]: RAY_CLIENT,
    HEAD_FLAGS["dashboard"]: RAY_DASHBOARD,
    **_node_ports(11001, 12000),
    "--dashboard-agent-listen-port": 52365,  # Ray's own default
}
# On the host network: service → flag of `ray start` → port. The head stands aside for the gateway of its own host.
HOST_RAY_PORTS: Mapping[str, Mapping[str, int]] = {
    "ray-head": {
        HEAD_FLAGS["gcs"]: 6385,
        HEAD_FLAGS["client"]: 10011,
        HEAD_FLAGS["dashboard"]: 8275,
        **_node_ports(11201, 14000),
    },
    "ray-cpu": _node_ports(11001, 12000),
    "ray-gpu": _node_ports(11101, 13000),
}
GATEWAY_PORTS: Mapping[str, int] = {"gcs": RAY_GCS, "client": RAY_CLIENT, "dashboard": RAY_DASHBOARD}


def host_ports(service: str) -> Iterator[tuple[str, int, int]]:
    """The port ranges of a service on the host network: purpose, first and last port."""
    if service == "ray-gateway":
        yield from ((purpose, port, port) for purpose, port in GATEWAY_PORTS.items())
    for flag, port in HOST_RAY_PORTS.get(service, {}).items():
        if flag == FIRST_WORKER:
            yield "worker processes", port, port + WORKER_PORTS - 1
        elif flag != LAST_WORKER:
            yield flag.removeprefix("--"), port, port
