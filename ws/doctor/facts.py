"""The facts about host, stack and cluster that `ws doctor` checks."""

import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import docker
import requests

from components.image_family import family_args, planned_tags
from config.builds import BuildSettings
from config.cluster import Membership
from config.matrix import MatrixSettings
from config.platform import PlatformSettings
from config.problems import ConfigError, SettingsError
from config.project import NAME
from docker_api.api import DockerApi, DockerError, bytes_free, data_root
from images.family import BuildTarget
from preflight.build_host import BuildHost
from preflight.cluster_facts import ClusterFacts
from preflight.container_users import HostUsers
from preflight.host_facts import HostFacts
from stack import base_age
from stack.advertised_facts import MACHINE
from stack.base_age import BaseAge
from stack.identity import StackIdentity
from stack.secrets import SecretError
from stack.sources import ANSWERS_FILE, IMAGE_REGISTRY, Sources, TorchChoice, choose_sources, reachable
from stack.stack import Stack
from stack.state import stack_folder
from ws import firewall
from ws.containers import containers
from ws.pulumi import cli as pulumi_cli
from ws.services import HealthReport, health_report
from ws.setup.docker import BOOTSTRAP, DockerFacts
from ws.setup.programs import missing
from ws.stack_settings import StackSettings, open_stack

ENGINE_TIMEOUT = 5  # seconds


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The input of the checks."""

    stack: str
    python: tuple[int, ...] = sys.version_info[:3]
    host: DockerFacts = field(default_factory=DockerFacts)
    engine: dict[str, Any] | None = None  # the Engine's /info
    disk_free: int | None = None  # bytes, where Docker keeps its data
    debootstrap: bool = False  # with Debian's keys
    registry: bool = False  # an image registry answers
    settings: PlatformSettings | None = None
    settings_error: str = ""
    host_facts: HostFacts = field(default_factory=HostFacts)
    users: HostUsers = field(default_factory=HostUsers)
    cluster: ClusterFacts = field(default_factory=ClusterFacts)
    cluster_error: str = ""  # why this host cannot query its cluster
    matrix: MatrixSettings | None = None  # of a stack that builds images, which has no other settings
    images: tuple[tuple[BuildTarget, str], ...] = ()  # that it builds, with their tags
    build_host: BuildHost = field(default_factory=BuildHost)
    bases: tuple[BaseAge, ...] = ()  # base images that are here
    today: date = field(default_factory=date.today)
    pulumi: Path | None = None
    missing_plugins: tuple[str, ...] = ()
    pulumi_downloads: bool = False
    health: HealthReport = field(default_factory=HealthReport)  # report of the running stack's health service
    firewall: str | None = None  # health of the deployed stack's; None: it has none
    deployed: bool = False
    left_rules: tuple[str, ...] = ()  # stacks whose firewall ended and left its rules
    state_mode: int | None = None  # of the state folder; None before the first deployment
    state_owned: bool = True

    @classmethod
    def collect(cls, stack: str) -> "Facts":
        """The facts of this host."""
        facts: dict[str, Any] = {
            "stack": stack,
            "host": DockerFacts.probe(),
            "debootstrap": not missing(BOOTSTRAP),
        }
        facts |= _engine_facts()
        configured = None
        try:
            configured = open_stack(stack)
            folder = stack_folder(configured.identity)
            facts |= _matrix_facts(configured) or platform_facts(configured)
        except (ConfigError, SettingsError) as error:
            facts["settings_error"] = str(error)
            folder = stack_folder(StackIdentity(project=NAME, stack=stack))
        if facts.get("engine"):
            there = containers(StackIdentity(project=NAME, stack=stack))
            facts |= {"health": health_report(there), "deployed": bool(there), "left_rules": firewall.left()}
            facts["firewall"] = next((one.health for one in there if one.service == "firewall"), None)
            facts |= {"bases": _bases(configured)} if configured else {}
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
    """The facts about a stack that deploys. Raises `ConfigError` and `SettingsError`."""
    settings, own = configured.deployable, configured.identity
    host_facts = HostFacts.probe(own.project, own.stack, gpus=settings.gpu.enabled)
    facts: dict[str, Any] = {"settings": settings, "host_facts": host_facts, "users": HostUsers.probe(settings)}
    return facts | (_cluster_facts(configured.previewed, settings.membership) if settings.membership else {})


def _cluster_facts(stack: Stack, membership: Membership) -> dict[str, Any]:
    try:
        password = stack.secrets(membership).values["redis-password"]
    except SecretError as error:
        return {"cluster_error": str(error)}
    return {"cluster": ClusterFacts.probe(membership, machine=stack.files.generated(MACHINE), password=password)}


def _matrix_facts(configured: StackSettings) -> dict[str, Any]:
    if configured.matrix is None:
        return {}

    def choose(settings: BuildSettings, *, torch: TorchChoice, devel: bool) -> Sources:
        kept = stack_folder(configured.identity) / ANSWERS_FILE
        return choose_sources(settings, torch=torch, devel=devel, kept=kept, dry_run=True)[0]

    args = family_args(configured.matrix, stack_file=configured.file.name, python=sys.executable, choose=choose)
    return {"matrix": args.settings, "images": tuple(planned_tags(args)), "build_host": BuildHost.probe()}


def _bases(configured: StackSettings) -> tuple[BaseAge, ...]:
    with suppress(ConfigError, SettingsError, DockerError):
        images, torch = configured.builds
        kept = stack_folder(configured.identity) / ANSWERS_FILE
        source = choose_sources(images, torch=torch, kept=kept, dry_run=True)[0].bases
        return tuple(base_age.ages(DockerApi(), source, images.mirrors.debian))
    return ()


def _engine_facts() -> dict[str, Any]:
    try:
        client = docker.from_env(timeout=ENGINE_TIMEOUT)
        info = client.info()
    except (docker.errors.DockerException, requests.RequestException, ValueError):
        return {}
    return {"engine": info, "disk_free": bytes_free(data_root(info))}
