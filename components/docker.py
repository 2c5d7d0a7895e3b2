"""The one place that declares Docker containers and volumes.

Works around the provider's known traps, each with its issue number if there is one, so that a second ``up`` changes
nothing and every changed setting is applied. Knows no service: images, commands and ports come from the components.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pulumi
import pulumi_docker as docker

from components.environment import Environment
from components.network import RayNetwork
from contracts.gpus import NO_GPUS, Gpus
from stack.http_proxy import HttpProxy
from stack.identity import StackIdentity
from stack.mount import Mount
from stack.secrets import user_id

# Edits of these are recorded by the provider but never reach the container (healthcheck: upstream #988), or come back
# in another order: only a replacement applies them.
REPLACE_ON_CHANGES = ["healthcheck", "tmpfs", "init", "mounts", "capabilities", "securityOpts", "memorySwap"]
# bridge: the stack's own network; host: the host's network; none: only the container's own loopback.
NetworkKind = Literal["bridge", "host", "none"]

MEBIBYTE = 1024**2
# For a container's own small files (role, heartbeat), which must stay writable when /tmp or a disk is full. It belongs
# to the container's user, since runc forgets its mode when the container is started again: the mount point exists then,
# and runc gives the file system the mount point's mode, 0755.
STATE_TARGET = "/run/state"

# Seconds that a container which was healthy at its last check goes without another one.
CALM_SECONDS = 25
# What a check may take beyond its own time limit before Docker ends it, which says less than the check itself.
MARGIN_SECONDS = 5
# Every check starts a process through Docker, and most of them a Python: checked each 3 to 5 s, an idle stack kept an
# eighth of a core busy. So a check waits first, in a sleeping shell, if the last one succeeded; while a container
# starts or fails it does not wait. Engines before 25 know no other interval for the start. The note goes before the
# wait: a check that ends unfinished (a pause, a kill) is not followed by another wait.
CHECK = (
    f"if rm {STATE_TARGET}/healthy 2>/dev/null; then sleep {CALM_SECONDS}; fi; "
    'timeout "$0" "$@" || { [ $? != 124 ] || echo "no answer within $0 s"; exit 1; }; '
    f"true 2>/dev/null >{STATE_TARGET}/healthy; exit 0"
)


def duration(seconds: int) -> str:
    """Go's canonical form of a duration, as the daemon reads it back: ``60`` is ``1m0s``, or each run shows a diff."""
    hours, rest = divmod(seconds, 3600)
    minutes, secs = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{secs}s"
    return f"{minutes}m{secs}s" if minutes else f"{secs}s"


def cpu_quota(cpus: float) -> str:
    """CPUs as the provider reads them back (``1.0``, ``0.5``, but ``10.``), or each refresh brings a replacement.

    Its ``nanoInt64ToDecimalString`` cuts zeros off nine decimals, unless there are nine of them in all: then it rounds
    to one decimal. Where that would set another limit (0.05 → 0.1, 0.01 → none) the limit counts, not the refresh.
    """
    decimals, rounded = f"{cpus:.9f}", f"{cpus:.1f}"
    exact = float(rounded) == cpus
    return rounded if exact and decimals.count("0") == len("000000000") else decimals.rstrip("0")


@dataclass(frozen=True, kw_only=True)
class PublishedPort:
    """A port of the container made reachable on the host."""

    internal: int
    external: int
    ip: str


def declared_gpus(gpus: Gpus) -> docker.ContainerDeviceRequestArgs:
    """GPUs in the provider's form. Its `gpus` argument loses every device of a list except the first ("device=0,1")."""
    count, devices = gpus.docker_request()
    return docker.ContainerDeviceRequestArgs(driver="nvidia", count=count, device_ids=devices, capabilities=["gpu"])


def declared_mount(mount: Mount) -> docker.ContainerMountArgs:
    """A mount in the provider's form."""
    return docker.ContainerMountArgs(
        type="bind" if mount.bind else "volume", source=mount.source, target=mount.target, read_only=mount.read_only
    )


@dataclass(frozen=True, kw_only=True)
class Healthcheck:
    """When a container counts as healthy. All times in seconds.

    Docker checks first after one interval, so a longer one makes `up` slower (before Engine 25).
    """

    command: tuple[str, ...]
    interval: int = 5
    timeout: int = 5
    retries: int = 10
    start_period: int = 60

    @property
    def words(self) -> tuple[str, ...]:
        """The command that Docker runs."""
        return "sh", "-c", CHECK, str(self.timeout), *self.command

    def declare(self) -> docker.ContainerHealthcheckArgs:
        """The health check in the provider's form."""
        return docker.ContainerHealthcheckArgs(
            tests=["CMD", *self.words],
            interval=duration(self.interval),
            timeout=duration(CALM_SECONDS + self.timeout + MARGIN_SECONDS),
            retries=self.retries,
            start_period=duration(self.start_period),
        )


def answers(port: int, path: str, *, start_period: int = 60) -> Healthcheck:
    """The check that a web server answers at a path, for an image without Python."""
    return Healthcheck(
        command=("busybox", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}{path}"),
        interval=3,
        start_period=start_period,
    )


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """The properties in which the platform's containers differ; all others are the same."""

    service: str  # host name, and alias on the bridge
    image: pulumi.Input[str]  # image ID, never a tag: a rebuilt image must replace the container
    command: tuple[str, ...]
    healthcheck: Healthcheck
    cpus: float
    memory: int  # bytes
    user: str
    env: Environment = field(default_factory=Environment)
    network: NetworkKind = "bridge"
    aliases: tuple[str, ...] = ()  # more names on the bridge
    host_pids: bool = False  # whether it sees the host's processes
    capabilities: tuple[str, ...] = ()  # with the prefix CAP_, as the daemon returns them
    ports: tuple[PublishedPort, ...] = ()  # on the bridge alone
    address: str | None = None  # fixed IPv4 address on the bridge; None lets Docker choose
    hosts: Mapping[str, str] = field(default_factory=dict)  # names known without a resolver → address
    mounts: tuple[Mount, ...] = ()
    shm_bytes: int | None = None
    tmp_bytes: int = 256 * MEBIBYTE  # size limit of /tmp; what is in it counts against the container's memory
    programs_in_tmp: bool = False  # whether programs and libraries may run from /tmp: only where people's own code runs
    gpus: Gpus = NO_GPUS
    stop_signal: str = "SIGTERM"
    stop_seconds: int = 20
    wait_seconds: int = 180  # how long `up` waits for it to become healthy


def run_container(
    name: str,
    spec: ContainerSpec,
    *,
    identity: StackIdentity,
    network: RayNetwork,
    proxy: HttpProxy,
    opts: pulumi.ResourceOptions,
) -> docker.Container:
    """Declares one hardened container with a health check; the resource is ready when the container is healthy."""
    memory = spec.memory // MEBIBYTE
    return docker.Container(
        name,
        name=identity.object_name(spec.service),
        hostname=spec.service,
        image=spec.image,
        # The image's own entrypoint may be a shell that expects to be root, so the command is always explicit.
        entrypoints=[spec.command[0]],
        command=list(spec.command[1:]),
        user=spec.user,
        envs=[f"{key}={value}" for key, value in sorted(proxy.environment(spec.service, spec.env.merged()).items())],
        ports=[
            # The default address is every interface, and the list is read back sorted by internal port.
            docker.ContainerPortArgs(internal=p.internal, external=p.external, ip=p.ip, protocol="tcp")
            for p in sorted(spec.ports, key=lambda p: p.internal)
        ],
        mounts=[declared_mount(m) for m in sorted(spec.mounts, key=lambda m: m.target)],
        # pulumi-docker#1272: shown as removed on every preview unless it is set.
        network_mode=spec.network,
        networks_advanced=[
            docker.ContainerNetworksAdvancedArgs(
                name=network.resource.name, aliases=[spec.service, *spec.aliases], ipv4_address=spec.address
            )
        ]
        if spec.network == "bridge"
        else None,
        hosts=[docker.ContainerHostArgs(host=name, ip=address) for name, address in sorted(spec.hosts.items())] or None,
        pid_mode="host" if spec.host_pids else None,
        cpus=cpu_quota(spec.cpus),
        # Without memory_swap every refresh brings a false diff (the daemon sets it to twice the memory).
        memory=memory,
        memory_swap=memory,
        shm_size=spec.shm_bytes // MEBIBYTE if spec.shm_bytes else None,
        device_requests=[declared_gpus(spec.gpus)] if spec.gpus else None,
        read_only=True,
        tmpfs={
            "/tmp": f"rw,{'exec' if spec.programs_in_tmp else 'noexec'},nosuid,nodev,mode=1777,size={spec.tmp_bytes}",  # noqa: S108
            STATE_TARGET: f"rw,noexec,nosuid,nodev,mode=1777,uid={user_id(spec.user)},size={MEBIBYTE}",
        },
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"], adds=sorted(spec.capabilities) or None),
        security_opts=["no-new-privileges:true"],
        init=True,
        restart="unless-stopped",
        must_run=True,
        stop_signal=spec.stop_signal,
        stop_timeout=spec.stop_seconds,
        # Zero would kill at once: Ray drains and Postgres checkpoints on a signal.
        destroy_grace_seconds=spec.stop_seconds,
        healthcheck=spec.healthcheck.declare(),
        wait=True,
        wait_timeout=spec.wait_seconds,
        # The daemon's default driver and its options would show as a replacement (upstream before 4.1).
        log_driver="json-file",
        log_opts={"max-file": "3", "max-size": "10m"},
        labels=[
            docker.ContainerLabelArgs(label=key, value=value)
            for key, value in sorted(identity.labels(spec.service).items())
        ],
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                # Names and published ports must be unique, so the old container goes first (pulumi-docker#1356).
                delete_before_replace=True,
                replace_on_changes=REPLACE_ON_CHANGES,
            ),
        ),
    )


def data_volume(
    name: str, volume: str, component: str, *, identity: StackIdentity, opts: pulumi.ResourceOptions
) -> docker.Volume:
    """Declares a named volume; it outlives its container, and only `ws down -v` removes it."""
    return docker.Volume(
        name,
        name=volume,
        driver="local",
        labels=[
            docker.VolumeLabelArgs(label=key, value=value) for key, value in sorted(identity.labels(component).items())
        ],
        opts=pulumi.ResourceOptions.merge(
            opts,
            # A volume is data: no engine may remove it when it leaves the program, nor replace one that the user, or an
            # earlier stack, made with other labels.
            pulumi.ResourceOptions(retain_on_delete=True, ignore_changes=["labels"]),
        ),
    )
