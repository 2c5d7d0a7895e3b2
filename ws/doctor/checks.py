"""The checks of `ws doctor`, which use only collected facts, and their messages."""

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from config import matrix
from config.cluster import Membership
from config.platform import KEY, PlatformSettings
from config.problems import Notice, Problem
from config.project import FOLDER, NAME
from config.stack_file import stack_file
from images.family import BuildTarget
from preflight import build_host, outside
from preflight import cluster as cluster_checks
from preflight import host as host_checks
from preflight.build_host import BuildHost, room
from preflight.cluster import VERSIONS, Finding, Situation
from preflight.container_users import HostUsers, shared_users
from preflight.disk import GB
from preflight.docker_engine import other_ids
from preflight.host_facts import HostFacts
from preflight.shared_data import data_is_not_shared
from stack.advertised_facts import versions
from stack.base_age import OLD_DAYS
from stack.identity import StackIdentity
from stack.state import stack_folder
from ws import firewall
from ws.doctor.facts import Facts
from ws.errors import WsError
from ws.services import HealthReport
from ws.setup.docker import plan

Images = Sequence[tuple[BuildTarget, str]]  # to build, with their tags
OLDEST_PYTHON = (3, 11)
OLDEST_DOCKER = (20, 10)
DISK_BYTES = 20 * 10**9  # the images of a stack with CUDA's torch, and room to build them


class State(StrEnum):
    """The state of a precondition."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One precondition."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def python(facts: Facts) -> Row:
    """The interpreter of this program."""
    version = ".".join(map(str, facts.python))
    if facts.python[:2] < OLDEST_PYTHON:
        return Row(name="Python", state=State.FAIL, detail=version, remedy="install Python 3.11 or newer")
    return Row(name="Python", state=State.OK, detail=version)


def docker_engine(facts: Facts) -> Row:
    """Docker is installed, runs, and is new enough to build with BuildKit over its API."""
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
    """Base images can be pulled or bootstrapped."""
    images = facts.settings.images if facts.settings else facts.matrix
    bases = images.bases if images else "auto"
    ways = {
        "registry": (facts.registry, "an image registry answers"),
        "bootstrap": (facts.debootstrap, "debootstrap and Debian's keys are installed"),
    }
    usable = [said for way, (there, said) in ways.items() if there and bases in ("auto", way)]
    if usable:
        return Row(name="Base images", state=State.OK, detail=" and ".join(usable))
    if facts.host.root and facts.host.debian and bases != "registry":
        detail = "debootstrap or Debian's keys are missing"
        return Row(name="Base images", state=State.WARN, detail=detail, remedy="`ws up` installs them")
    return Row(
        name="Base images",
        state=State.FAIL,
        detail=f"images.bases is {bases}: no image registry answers, and debootstrap or Debian's keys are missing",
        remedy="open the way to a registry, or install debootstrap and debian-archive-keyring, and run as root",
    )


def base_age_rows(facts: Facts) -> list[Row]:
    """How old base images are, and with them the security updates of everything on them."""
    name, remedy = "Age of bases", "`ws matrix --refresh-bases --no-build` renews them; then `ws up` of each stack"
    old = [base for base in facts.bases if base.days(facts.today) > OLD_DAYS]
    found = [
        Row(name=name, state=State.WARN, detail=f"{base.tag} is {base.days(facts.today)} days old", remedy=remedy)
        for base in old
    ]
    if facts.bases and not found:
        days = max(base.days(facts.today) for base in facts.bases)
        found = [Row(name=name, state=State.OK, detail=f"{days} days, of at most {OLD_DAYS}")]
    return found


def disk(facts: Facts) -> Row:
    """There is room for images."""
    if facts.disk_free is None:
        return Row(
            name="Disk", state=State.WARN, detail="not known", remedy="have 20 GB free where Docker keeps images"
        )
    docker_root = facts.engine["DockerRootDir"] if facts.engine else ""
    detail = f"{facts.disk_free / 1e9:.0f} GB free in {docker_root}"
    if facts.disk_free < DISK_BYTES:
        remedy = (
            "free 20 GB: `docker system df -v` shows what takes it; old images of this project: "
            "`ws matrix --prune --no-build`"
        )
        return Row(name="Disk", state=State.FAIL, detail=detail, remedy=remedy)
    return Row(name="Disk", state=State.OK, detail=detail)


def stack_is_valid(facts: Facts) -> Row:
    """The stack file can be deployed, as far as it alone tells."""
    name = stack_file(FOLDER, facts.stack).name
    if facts.matrix:
        return Row(name="Stack file", state=State.OK, detail=f"{name}: {len(facts.images)} images to build")
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
    """Other users cannot read the stored secrets."""
    detail = str(stack_folder(StackIdentity(project=NAME, stack=facts.stack)))
    if facts.state_mode is None:
        return Row(name="State folder", state=State.OK, detail=f"{detail} (not yet there)")
    if not facts.state_owned:
        remedy = "run this as its owner, or with a folder of your own: export XDG_STATE_HOME=FOLDER"
        return Row(name="State folder", state=State.FAIL, detail=f"{detail} belongs to another user", remedy=remedy)
    if facts.state_mode & 0o077:
        remedy = f"chmod go= {detail}"  # not the files in it: containers read some of them
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


@dataclass(frozen=True, kw_only=True)
class HostCheck:
    """A host requirement of a stack: a check that the program makes before each deployment, described for people."""

    title: str
    run: Callable[[PlatformSettings, HostFacts], Iterable[Problem]]
    describe: Callable[[PlatformSettings, HostFacts], str]  # what is fine where nothing is wrong
    asks_docker: bool = False  # without its answer the stack's own containers would look like others'


def _cores_of_ray(settings: PlatformSettings) -> str:
    return f"{sum(node.cpus for node in settings.ray_nodes.values()):g}"


def _memory_of_ray(settings: PlatformSettings) -> str:
    return f"{sum(node.memory for node in settings.ray_nodes.values()) / 2**30:.1f} GiB"


def _gpus(settings: PlatformSettings, host: HostFacts) -> str:
    if not settings.gpu.enabled:
        return "not wanted by this stack"
    found = host.gpus
    shown = f", driver {found.driver}: {', '.join(map(str, found.gpus))}" if found.gpus else ""
    return f"NVIDIA runtime{shown}"


HOST_CHECKS = (
    HostCheck(
        title="Network name",
        run=host_checks.network_name_is_free,
        describe=lambda settings, _: settings.network.name,
        asks_docker=True,
    ),
    HostCheck(
        title="Subnet",
        run=host_checks.subnet_is_free,
        describe=lambda settings, _: settings.network.subnet,
        asks_docker=True,
    ),
    HostCheck(
        title="Bind address",
        run=host_checks.bind_address_is_ours,
        describe=lambda settings, _: settings.network.bind_address,
    ),
    HostCheck(
        title="Ports",
        run=host_checks.ports_are_free,
        describe=lambda settings, _: ", ".join(str(port) for _, port in settings.published_ports()),
        asks_docker=True,
    ),
    HostCheck(
        title="Ports that move",
        run=host_checks.ports_are_given_up,
        describe=lambda *_: "none, or the engine frees them first",
        asks_docker=True,
    ),
    HostCheck(
        title="Postgres",
        run=host_checks.postgres_reads_its_data,
        describe=lambda settings, _: f"version {settings.postgres.version}",
        asks_docker=True,
    ),
    HostCheck(
        title="CPUs, memory",
        run=host_checks.limits_fit,
        describe=lambda _, host: f"{host.cpus} cores, {host.memory_bytes / 2**30:.1f} GiB",
    ),
    HostCheck(
        title="Cores of Ray",
        run=host_checks.ray_nodes_share_the_cores,
        describe=lambda settings, _: _cores_of_ray(settings),
    ),
    HostCheck(
        title="Memory of Ray",
        run=host_checks.ray_nodes_share_the_memory,
        describe=lambda settings, _: _memory_of_ray(settings),
    ),
    HostCheck(
        title="Mounts",
        run=host_checks.host_is_not_mounted,
        describe=lambda *_: "no directory that the host itself depends on",
    ),
    HostCheck(
        title="Folders",
        run=host_checks.folders_are_accessible,
        describe=lambda *_: "every mounted folder exists",
    ),
    HostCheck(
        title="Data",
        run=data_is_not_shared,
        describe=lambda *_: "no other stack's",
        asks_docker=True,
    ),
    HostCheck(
        title="Datasets",
        run=host_checks.datasets_are_here,
        describe=lambda settings, _: ", ".join(settings.datasets) or "none",
    ),
    HostCheck(title="GPUs", run=host_checks.gpus_are_usable, describe=_gpus),
)


@dataclass(frozen=True, kw_only=True)
class BuildCheck:
    """A host requirement of a stack that builds images."""

    title: str
    run: Callable[[Images, BuildHost], Iterable[Problem]]
    describe: Callable[[Images, BuildHost], str]


def _room(images: Images, host: BuildHost) -> str:
    missing, needed = room(images, host)
    free = f"; {host.free / GB:.0f} GB free in {host.docker_root}" if host.free is not None else ""
    return f"{missing} of {len(images)} images are missing, about {needed / GB:.1f} GB{free}"


BUILD_CHECKS = (
    BuildCheck(title="Room for images", run=build_host.disk_suffices, describe=_room),
    BuildCheck(
        title="Platforms",
        run=build_host.platforms_can_run,
        describe=lambda images, _: ", ".join(dict.fromkeys(wanted.platform for wanted, _ in images)),
    ),
)


@dataclass(frozen=True, kw_only=True)
class ClusterCheck:
    """A check of a fact that the hosts of a cluster must agree on."""

    title: str
    run: tuple[Callable[[Situation], Iterable[Finding]], ...]
    describe: Callable[[Situation], str]
    asks_redis: bool = False  # it needs Redis's answer


def _versions(situation: Situation) -> str:
    own = versions(situation.settings)
    return ", ".join(f"{word} {own[name]}" for name, word in VERSIONS.items() if own[name]) or "pulled images"


def _redis(situation: Situation) -> str:
    addresses = situation.membership.redis_addresses
    return f"{addresses[0]}, with a replica at {addresses[-1]}"


def _other_hosts(situation: Situation) -> str:
    return ", ".join(one.host for one in situation.cluster.up if one.host != situation.membership.host) or "none is up"


CLUSTER_CHECKS = (
    ClusterCheck(
        title="Own address",
        run=(
            cluster_checks.address_is_ours,
            cluster_checks.routes_lead_from_our_address,
            cluster_checks.host_is_not_taken,
        ),
        describe=lambda situation: situation.membership.address,
    ),
    ClusterCheck(
        title="Datasets of the cluster",
        run=(cluster_checks.datasets_are_here,),
        describe=lambda situation: ", ".join(situation.settings.datasets) or "none on this host",
    ),
    ClusterCheck(
        title="Ports of the cluster",
        run=(cluster_checks.ports_are_free,),
        describe=lambda _: "free, or this stack's",
    ),
    ClusterCheck(
        title="Redis",
        run=(cluster_checks.redis_answers, cluster_checks.somebody_can_take_over),
        describe=_redis,
    ),
    ClusterCheck(
        title="Clock",
        run=(cluster_checks.clocks_agree,),
        describe=lambda situation: f"{abs(situation.cluster.clock_ahead or 0):.2f} s from that of Redis",
        asks_redis=True,
    ),
    ClusterCheck(
        title="Versions",
        run=(cluster_checks.versions_agree, cluster_checks.packages_agree),
        describe=_versions,
        asks_redis=True,
    ),
    ClusterCheck(
        title="Checkpoints of the cluster",
        run=(cluster_checks.checkpoints_are_shared,),
        describe=lambda situation: situation.settings.ray.storage_path or "in the home folder",
        asks_redis=True,
    ),
    ClusterCheck(
        title="Other hosts",
        run=(cluster_checks.peers_can_be_reached, cluster_checks.networks_are_apart),
        describe=_other_hosts,
        asks_redis=True,
    ),
)


def rows(facts: Facts) -> list[Row]:
    """The rows of all checks on these facts."""
    # The needs of images to build are known more exactly than those of a stack's own images.
    found = [look(facts) for look in CHECKS if not (look is disk and facts.matrix)] + base_age_rows(facts)
    if facts.settings:
        settings, host = facts.settings, facts.host_facts
        for check in HOST_CHECKS:
            if facts.engine or not check.asks_docker:
                problems = list(check.run(settings, host))
                found += _rows(check.title, problems, facts, KEY) or [_met(check.title, check.describe(settings, host))]
        found += [
            Row(name="GPUs", state=State.WARN, detail=notice.text) for notice in host_checks.notices(settings, host)
        ]
        found += outside_rows(facts, facts.settings)
        found += user_rows(facts.settings, facts.users)
        found += cluster_rows(facts, facts.settings)
    found += running_rows(facts.health)
    for build_check in BUILD_CHECKS if facts.matrix else ():
        problems = list(build_check.run(facts.images, facts.build_host))
        fine = _met(build_check.title, build_check.describe(facts.images, facts.build_host))
        found += _rows(build_check.title, problems, facts, matrix.KEY) or [fine]
    return found


def _met(title: str, detail: str) -> Row:
    return Row(name=title, state=State.OK, detail=detail)


def _rows(title: str, problems: list[Problem], facts: Facts, key: str) -> list[Row]:
    file = stack_file(FOLDER, facts.stack).name
    texts = [problem.text(file, key).partition("\n") for problem in problems]
    return [Row(name=title, state=State.FAIL, detail=first, remedy=rest) for first, _, rest in texts]


def user_rows(settings: PlatformSettings, users: HostUsers) -> list[Row]:
    """Users besides the deployer who can look into containers."""
    name = "Containers' user"
    found = [Row(name=name, state=State.WARN, detail=notice.text) for notice in shared_users(settings, users)]
    return found or [Row(name=name, state=State.OK, detail="no other user of this host has its ID")]


def running_rows(report: HealthReport) -> list[Row]:
    """Problems of the running stack by service, from its health service; none if it is not running."""
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
    """Ports that other machines reach although they are not published to them."""
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
    notices = list(outside.notices(settings, facts.host_facts))
    for notice in notices:
        detail, _, commands = notice.text.partition("\n")
        found.append(Row(name=name, state=State.WARN, detail=detail, remedy=commands))
    needed = outside.is_needed(settings, facts.host_facts)
    if needed and settings.firewall.enabled and facts.deployed and facts.firewall != "healthy":
        detail = f"the firewall is {facts.firewall or 'not deployed'}"
        remedy = f"`ws up -s {facts.stack}` deploys it; `ws logs firewall -s {facts.stack}` says what it did"
        found.append(Row(name=name, state=State.FAIL, detail=detail, remedy=remedy))
    elif not notices:
        who = "the firewall" if needed else "Docker itself"
        detail = f"reach what is published to them, and nothing else, thanks to {who}"
        found.append(Row(name=name, state=State.OK, detail=detail))
    return found


def cluster_rows(facts: Facts, settings: PlatformSettings) -> list[Row]:
    """How the host fits into its cluster of several hosts."""
    membership = settings.membership
    if membership is None:
        return []
    if facts.cluster_error:
        first, _, rest = facts.cluster_error.partition("\n")
        return [Row(name="Cluster", state=State.FAIL, detail=first, remedy=rest)]
    situation = Situation(settings=settings, membership=membership, host=facts.host_facts, cluster=facts.cluster)
    rows = [
        Row(
            name="Cluster", state=State.OK, detail=f"{membership.host} of {membership.cluster.name} ({membership.file})"
        )
    ]
    for check in CLUSTER_CHECKS:
        findings = [finding for each in check.run for finding in each(situation)]
        rows += [_cluster_row(check.title, finding, membership) for finding in findings]
        if not findings:
            known = facts.cluster.state is not None or not check.asks_redis
            rows.append(_met(check.title, check.describe(situation) if known else "not known: Redis does not answer"))
    return rows


def _cluster_row(name: str, finding: Problem | Notice, membership: Membership) -> Row:
    if isinstance(finding, Problem):
        first, _, rest = finding.text(membership.file, membership.key).partition("\n")
        return Row(name=name, state=State.FAIL, detail=first, remedy=rest)
    return Row(name=name, state=State.WARN if finding.warning else State.OK, detail=finding.text)
