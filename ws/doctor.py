"""`ws doctor`: every precondition of a deployment, its state, and the remedy where it is not met."""

import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import docker
import requests
from rich.table import Table
from rich.text import Text

from components.image_family import family_args, planned_tags
from config import matrix as matrix_settings
from config.builds import BuildSettings
from config.cluster import ClusterPlace
from config.matrix import MatrixSettings
from config.matrix_rules import Wanted
from config.platform import KEY, PlatformSettings
from config.problems import ConfigError, Problem, Remark, SettingsError
from config.stack_file import stack_file
from docker_api.api import bytes_free, data_root
from preflight import build_host, outside
from preflight import cluster as cluster_checks
from preflight import host as host_checks
from preflight.build_host import BuildHost, room
from preflight.cluster import VERSIONS, Situation
from preflight.cluster_facts import ClusterFacts
from preflight.container_users import HostUsers, shared_users
from preflight.disk import GB
from preflight.docker_engine import other_ids
from preflight.host_facts import HostFacts
from stack.advertised_facts import MACHINE, versions
from stack.identity import StackIdentity
from stack.secrets import SecretError
from stack.sources import IMAGE_REGISTRY, KEPT, Sources, TorchChoice, choose_sources, reachable
from stack.stack import Stack
from stack.state import stack_folder
from ws import firewall
from ws.containers import containers
from ws.errors import WsError
from ws.project import FOLDER
from ws.pulumi import cli as pulumi_cli
from ws.services import HealthReport, health_report
from ws.setup.docker import Host, plan
from ws.stack_settings import StackSettings, open_stack

OLDEST_PYTHON = (3, 11)
OLDEST_DOCKER = (20, 10)
DISK_BYTES = 20 * 10**9  # the images of a stack with CUDA's torch, and room to build them
ENGINE_TIMEOUT = 5  # seconds


class State(StrEnum):
    """How a precondition stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


MARKS = {State.OK: ("✓", "green"), State.WARN: ("!", "yellow"), State.FAIL: ("✗", "bold red")}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One precondition."""

    name: str
    state: State
    detail: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the checks look at."""

    stack: str
    python: tuple[int, ...] = sys.version_info[:3]
    host: Host = field(default_factory=Host)
    engine: dict[str, Any] | None = None  # the Engine's /info
    disk_free: int | None = None  # bytes, where Docker keeps its data
    debootstrap: bool = False
    registry: bool = False  # an image registry answers
    settings: PlatformSettings | None = None
    settings_error: str = ""
    host_facts: HostFacts = field(default_factory=HostFacts)
    users: HostUsers = field(default_factory=HostUsers)
    cluster: ClusterFacts = field(default_factory=ClusterFacts)
    cluster_error: str = ""  # why this host cannot ask its cluster anything
    matrix: MatrixSettings | None = None  # of a stack that builds images, which has no other settings
    images: tuple[tuple[Wanted, str], ...] = ()  # that it builds, with their tags
    build_host: BuildHost = field(default_factory=BuildHost)
    pulumi: Path | None = None
    missing_plugins: tuple[str, ...] = ()
    pulumi_downloads: bool = False
    health: HealthReport = field(default_factory=HealthReport)  # what the health service of the running stack says
    firewall: str | None = None  # health of the deployed stack's; None: it has none
    deployed: bool = False
    left_rules: tuple[str, ...] = ()  # stacks whose firewall ended and left its rules
    state_mode: int | None = None  # of the state folder; None before the first deployment
    state_owned: bool = True

    @classmethod
    def collect(cls, stack: str) -> "Facts":
        """The facts of this host."""
        facts: dict[str, Any] = {"stack": stack, "host": Host.probe(), "debootstrap": bool(shutil.which("debootstrap"))}
        facts |= _engine_facts()
        try:
            configured = open_stack(stack)
            folder = stack_folder(configured.identity)
            facts |= _matrix_facts(configured) or platform_facts(configured)
        except (ConfigError, SettingsError) as error:
            facts["settings_error"] = str(error)
            folder = stack_folder(StackIdentity(project="cslr", stack=stack))
        if facts.get("engine"):
            there = containers(StackIdentity(project="cslr", stack=stack))
            facts |= {"health": health_report(there), "deployed": bool(there), "left_rules": firewall.left()}
            facts["firewall"] = next((one.health for one in there if one.service == "firewall"), None)
        facts["registry"] = reachable(IMAGE_REGISTRY, needed_header="docker-distribution-api-version")
        facts["pulumi"] = cli = pulumi_cli.find()
        facts["pulumi_downloads"] = pulumi_cli.downloads_answer()
        if cli:
            facts["missing_plugins"] = tuple(p.program for p in pulumi_cli.plugins() if not p.present(cli))
        with suppress(OSError):
            found = folder.stat()
            facts |= {"state_mode": stat.S_IMODE(found.st_mode), "state_owned": found.st_uid == os.geteuid()}
        return cls(**facts)


def platform_facts(configured: StackSettings) -> dict[str, Any]:
    """Of the facts, those on a stack that deploys. Raises `ConfigError` and `SettingsError`."""
    settings, own = configured.deployable, configured.identity
    host_facts = HostFacts.probe(own.project, own.stack, gpus=settings.gpu.enabled)
    facts: dict[str, Any] = {"settings": settings, "host_facts": host_facts, "users": HostUsers.probe(settings)}
    return facts | (_cluster_facts(configured.previewed, settings.place) if settings.place else {})


def _cluster_facts(stack: Stack, place: ClusterPlace) -> dict[str, Any]:
    try:
        password = stack.secrets(place).values["redis-password"]
    except SecretError as error:
        return {"cluster_error": str(error)}
    return {"cluster": ClusterFacts.probe(place, machine=stack.files.generated(MACHINE), password=password)}


def _matrix_facts(configured: StackSettings) -> dict[str, Any]:
    if configured.matrix is None:
        return {}

    def choose(settings: BuildSettings, *, torch: TorchChoice, devel: bool) -> Sources:
        kept = stack_folder(configured.identity) / KEPT
        return choose_sources(settings, torch=torch, devel=devel, kept=kept, dry_run=True)[0]

    args = family_args(configured.matrix, stack_file=configured.file.name, python=sys.executable, choose=choose)
    return {"matrix": args.settings, "images": tuple(planned_tags(args)), "build_host": BuildHost.probe()}


def _engine_facts() -> dict[str, Any]:
    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT)
        info = client.info()
    except (docker.errors.DockerException, requests.RequestException, ValueError):
        return {}
    return {"engine": info, "disk_free": bytes_free(data_root(info))}


def python(facts: Facts) -> Row:
    """The interpreter of this program."""
    version = ".".join(map(str, facts.python))
    if facts.python[:2] < OLDEST_PYTHON:
        return Row(name="Python", state=State.FAIL, detail=version, remedy="install Python 3.11 or newer")
    return Row(name="Python", state=State.OK, detail=version)


def docker_engine(facts: Facts) -> Row:
    """Docker is there, runs, and is new enough to build with BuildKit over its API."""
    if facts.engine is None:
        try:
            plan(facts.host)
            remedy = "`ws up` installs and starts it"
        except WsError as error:
            remedy = str(error)
        detail = "does not run" if facts.host.installed else "is not installed"
        return Row(name="Docker Engine", state=State.FAIL, detail=detail, remedy=remedy)
    version = facts.engine["ServerVersion"]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST_DOCKER:
        remedy = "update it to 20.10 or newer: images are built with its BuildKit"
        return Row(name="Docker Engine", state=State.FAIL, detail=version, remedy=remedy)
    if problem := other_ids(facts.engine):
        remedy = "\n".join([problem.advice, *(f"  {command}" for command in problem.commands)])
        return Row(name="Docker Engine", state=State.FAIL, detail=problem.reason, remedy=remedy)
    return Row(name="Docker Engine", state=State.OK, detail=f"{version}, with BuildKit")


def linux(facts: Facts) -> Row:
    """Containers of this platform's images run on Linux on x86-64 or ARM."""
    machine = facts.engine["Architecture"] if facts.engine else platform.machine()
    return Row(name="Architecture", state=State.OK, detail=machine)


def base_images(facts: Facts) -> Row:
    """There is a way to a base image."""
    images = facts.settings.images if facts.settings else facts.matrix
    bases = images.bases if images else "auto"
    ways = {
        "registry": (facts.registry, "an image registry answers"),
        "bootstrap": (facts.debootstrap, "debootstrap is installed"),
    }
    usable = [said for way, (there, said) in ways.items() if there and bases in ("auto", way)]
    if usable:
        return Row(name="Base images", state=State.OK, detail=" and ".join(usable))
    if facts.host.root and facts.host.debian and bases != "registry":
        return Row(name="Base images", state=State.WARN, detail="debootstrap is missing", remedy="`ws up` installs it")
    return Row(
        name="Base images",
        state=State.FAIL,
        detail=f"images.bases is {bases}: no image registry answers, and debootstrap is not installed",
        remedy="open the way to a registry, or install debootstrap and run as root",
    )


def disk(facts: Facts) -> Row:
    """Images have room."""
    if facts.disk_free is None:
        return Row(
            name="Disk", state=State.WARN, detail="not known", remedy="have 20 GB free where Docker keeps images"
        )
    place = facts.engine["DockerRootDir"] if facts.engine else ""
    detail = f"{facts.disk_free / 1e9:.0f} GB free in {place}"
    if facts.disk_free < DISK_BYTES:
        remedy = (
            "free 20 GB: `docker system df -v` shows what takes it; old images of this project: `ws matrix --prune`"
        )
        return Row(name="Disk", state=State.FAIL, detail=detail, remedy=remedy)
    return Row(name="Disk", state=State.OK, detail=detail)


def stack_is_valid(facts: Facts) -> Row:
    """The stack file can be deployed, as far as it alone tells."""
    name = stack_file(FOLDER, facts.stack).name
    if facts.matrix:
        return Row(name="Stack file", state=State.OK, detail=f"{name}: {len(facts.images)} images of the family")
    if facts.settings is None:
        first, _, rest = facts.settings_error.partition("\n")
        return Row(name="Stack file", state=State.FAIL, detail=first, remedy=rest.strip("\n"))
    return Row(name="Stack file", state=State.OK, detail=f"{name}: {', '.join(facts.settings.services())}")


def pulumi(facts: Facts) -> Row:
    """Which engine `--engine auto` chooses."""
    if facts.pulumi is None:
        detail = "will be installed" if facts.pulumi_downloads else "not here, cannot be downloaded: embedded engine"
        return Row(name="Pulumi CLI", state=State.OK, detail=detail)
    if facts.missing_plugins and not facts.pulumi_downloads:
        return Row(
            name="Pulumi CLI",
            state=State.WARN,
            detail=f"{facts.pulumi} lacks {', '.join(facts.missing_plugins)}: embedded engine",
            remedy="`pulumi plugin install resource NAME VERSION --file …`, or put them on PATH",
        )
    return Row(name="Pulumi CLI", state=State.OK, detail=str(facts.pulumi))


def state_folder(facts: Facts) -> Row:
    """Nobody else reads the secrets that are kept."""
    detail = str(stack_folder(StackIdentity(project="cslr", stack=facts.stack)))
    if facts.state_mode is None:
        return Row(name="State folder", state=State.OK, detail=f"{detail} (not yet there)")
    if not facts.state_owned:
        remedy = "run this as its owner, or with a folder of your own: export XDG_STATE_HOME=FOLDER"
        return Row(name="State folder", state=State.FAIL, detail=f"{detail} belongs to another user", remedy=remedy)
    if facts.state_mode & 0o077:
        remedy = f"chmod go= {detail}"  # not what is in it: containers read some of that
        return Row(name="State folder", state=State.WARN, detail=f"{detail} is open to other users", remedy=remedy)
    return Row(name="State folder", state=State.OK, detail=detail)


CHECKS: tuple[Callable[[Facts], Row], ...] = (
    python,
    docker_engine,
    linux,
    base_images,
    disk,
    pulumi,
    state_folder,
    stack_is_valid,
)
# What a stack wants of its host, checked by the program too before each deployment.
HOST_CHECKS = {
    "Network name": host_checks.network_name_is_free,
    "Subnet": host_checks.subnet_is_free,
    "Bind address": host_checks.bind_address_is_ours,
    "Ports": host_checks.ports_are_free,
    "CPUs, memory": host_checks.limits_fit,
    "Cores of Ray": host_checks.ray_nodes_share_the_cores,
    "Memory of Ray": host_checks.ray_nodes_share_the_memory,
    "Mounts": host_checks.host_is_not_mounted,
    "Folders": host_checks.folders_are_accessible,
    "GPUs": host_checks.gpus_are_usable,
}
# Without the Engine's answer the stack's own containers would look like others'.
ASK_THE_ENGINE = ("Network name", "Subnet", "Ports")
ROOM = "Room for images"
# What a stack that builds images wants of it.
BUILD_CHECKS = {ROOM: build_host.disk_suffices, "Platforms": build_host.platforms_can_run}


def rows(facts: Facts) -> list[Row]:
    """Every check on these facts."""
    # What images to build need is known better than of those that a stack runs on.
    found = [check(facts) for check in CHECKS if not (check is disk and facts.matrix)]
    if facts.settings:
        for name, check in HOST_CHECKS.items():
            if facts.engine or name not in ASK_THE_ENGINE:
                found += _host_rows(name, list(check(facts.settings, facts.host_facts)), facts)
        found += outside_rows(facts, facts.settings)
        found += user_rows(facts.settings, facts.users)
        found += cluster_rows(facts, facts.settings)
    found += running_rows(facts.health)
    for name, build_check in BUILD_CHECKS.items() if facts.matrix else ():
        found += _host_rows(name, list(build_check(facts.images, facts.build_host)), facts)
    return found


def user_rows(settings: PlatformSettings, users: HostUsers) -> list[Row]:
    """Who beside the deployer can look into containers."""
    name = "Containers' user"
    found = [Row(name=name, state=State.WARN, detail=remark.text) for remark in shared_users(settings, users)]
    return found or [Row(name=name, state=State.OK, detail="nobody else has its number on this host")]


def running_rows(report: HealthReport) -> list[Row]:
    """What is wrong with the running stack, by service, as its health service says; nothing where none runs."""
    if report.status is None:
        return [Row(name="Running stack", state=State.WARN, detail=report.problem)] if report.problem else []
    said = report.status.services
    found = [
        Row(
            name="Running stack",
            state=State.FAIL if one.error else State.WARN,
            detail=f"{one.name}: {one.error or one.warning}",
        )
        for one in said
        if one.error or one.warning
    ]
    return found or [Row(name="Running stack", state=State.OK, detail=f"{len(said)} services are healthy")]


def outside_rows(facts: Facts, settings: PlatformSettings) -> list[Row]:
    """What other machines reach although it is not published to them."""
    name = "Other machines"
    found = [
        Row(
            name=name,
            state=State.WARN,
            detail=f"the firewall of the stack {stack} was killed, and its rules still stand",
            remedy=f"`ws up -s {stack}` starts it, `ws down -s {stack}` removes them"
            if stack_file(FOLDER, stack).exists()
            else firewall.removal(stack),
        )
        for stack in facts.left_rules
    ]
    remarks = list(outside.remarks(settings, facts.host_facts))
    for remark in remarks:
        detail, _, commands = remark.text.partition("\n")
        found.append(Row(name=name, state=State.WARN, detail=detail, remedy=commands))
    needed = outside.is_needed(settings, facts.host_facts)
    if needed and settings.firewall.enabled and facts.deployed and facts.firewall != "healthy":
        detail = f"the firewall is {facts.firewall or 'not deployed'}"
        remedy = f"`ws up -s {facts.stack}` deploys it; `ws logs firewall -s {facts.stack}` says what it did"
        found.append(Row(name=name, state=State.FAIL, detail=detail, remedy=remedy))
    elif not remarks:
        who = "the firewall" if needed else "Docker itself"
        detail = f"reach what is published to them, and nothing else, thanks to {who}"
        found.append(Row(name=name, state=State.OK, detail=detail))
    return found


def _host_rows(name: str, problems: list[Problem], facts: Facts) -> list[Row]:
    if not problems:
        return [Row(name=name, state=State.OK, detail=_met(name, facts))]
    file = stack_file(FOLDER, facts.stack).name
    key = matrix_settings.KEY if facts.matrix else KEY
    texts = [problem.text(file, key).partition("\n") for problem in problems]
    return [Row(name=name, state=State.FAIL, detail=first, remedy=rest) for first, _, rest in texts]


def cluster_rows(facts: Facts, settings: PlatformSettings) -> list[Row]:
    """How the host fits into its cluster of several hosts."""
    place = settings.place
    if place is None:
        return []
    if facts.cluster_error:
        first, _, rest = facts.cluster_error.partition("\n")
        return [Row(name="Cluster", state=State.FAIL, detail=first, remedy=rest)]
    situation = Situation(settings=settings, place=place, host=facts.host_facts, cluster=facts.cluster)
    rows = [Row(name="Cluster", state=State.OK, detail=f"{place.host} of {place.cluster.name} ({place.file})")]
    for name, checks in cluster_checks.CHECKS.items():
        findings = [finding for check in checks for finding in check(situation)]
        rows += [_cluster_row(name, finding, place) for finding in findings]
        if not findings:
            rows.append(Row(name=name, state=State.OK, detail=_agreed(name, settings, place, facts.cluster)))
    return rows


def _cluster_row(name: str, finding: Problem | Remark, place: ClusterPlace) -> Row:
    if isinstance(finding, Problem):
        first, _, rest = finding.text(place.file, place.key).partition("\n")
        return Row(name=name, state=State.FAIL, detail=first, remedy=rest)
    return Row(name=name, state=State.WARN if finding.warning else State.OK, detail=finding.text)


def _agreed(name: str, settings: PlatformSettings, place: ClusterPlace, cluster: ClusterFacts) -> str:
    """What is fine about a check of the cluster."""
    own = versions(settings)
    if cluster.state is None and name in ("Clock", "Versions", "Other hosts"):
        return "not known: Redis does not answer"
    details = {
        "Own address": place.address,
        "Redis": f"{place.redis_addresses[0]}, with a copy at {place.redis_addresses[-1]}",
        "Ports of the cluster": "free, or this stack's",
        "Versions": ", ".join(f"{word} {own[name]}" for name, word in VERSIONS.items() if own[name]) or "pulled images",
        "Clock": f"{abs(cluster.clock_ahead or 0):.2f} s from that of Redis",
        "Other hosts": ", ".join(member.host for member in cluster.up if member.host != place.host) or "none is up",
    }
    return details.get(name, "")


def _met(name: str, facts: Facts) -> str:
    """What is fine about a check of the host."""
    if facts.matrix:
        return _room_in_words(facts) if name == ROOM else ", ".join(facts.matrix.platforms)
    if facts.settings is None:
        return ""
    details = {
        "Network name": facts.settings.network.name,
        "Subnet": facts.settings.network.subnet,
        "Bind address": facts.settings.network.bind_address,
        "Ports": ", ".join(str(port) for _, port in facts.settings.published_ports()),
        "CPUs, memory": f"{facts.host_facts.cpus} cores, {facts.host_facts.memory_bytes / 2**30:.1f} GiB",
        "Mounts": "nothing that this host lives by",
        "Folders": "every folder that is mounted is there",
        "Cores of Ray": f"{sum(node.cpus for node in facts.settings.ray_nodes.values()):g}",
        "Memory of Ray": f"{sum(node.memory for node in facts.settings.ray_nodes.values()) / 2**30:.1f} GiB",
        "GPUs": _gpus_in_words(facts) if facts.settings.gpu.enabled else "not wanted by this stack",
    }
    return details.get(name, "")


def _gpus_in_words(facts: Facts) -> str:
    found = facts.host_facts.gpus
    return (
        f"NVIDIA runtime, driver {found.driver}: {', '.join(map(str, found.gpus))}" if found.gpus else "NVIDIA runtime"
    )


def _room_in_words(facts: Facts) -> str:
    missing, needed = room(facts.images, facts.build_host)
    free = facts.build_host.free
    there = f"; {free / GB:.0f} GB free in {facts.build_host.place}" if free is not None else ""
    return f"{missing} of {len(facts.images)} images are missing, about {needed / GB:.1f} GB{there}"


def examine(stack: str) -> list[Row]:
    """Every precondition of a stack on this host."""
    return rows(Facts.collect(stack))


def table(found: Iterable[Row]) -> Table:
    """`ws doctor`."""
    shown = Table(box=None, pad_edge=False)
    for column in ("", "Check", "State"):
        shown.add_column(column, overflow="fold")
    for row in found:
        mark, style = MARKS[row.state]
        detail = Text(row.detail)
        if row.remedy:
            detail.append(f"\n{row.remedy}", style="yellow")
        shown.add_row(Text(mark, style=style), row.name, detail)
    return shown
