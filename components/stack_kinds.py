"""The two kinds of stacks: one that deploys a host's part of the platform, and one that only builds images."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from components import build_host, cluster_checks, host, matrix_settings
from components.build_settings import BuildSettings
from components.cluster_facts import MACHINE
from components.cluster_file import find_place
from components.cluster_key import cluster_key, derived
from components.cluster_probe import ClusterFacts
from components.cluster_settings import ClusterPlace
from components.files import HostFiles, stack_folder
from components.identity import StackIdentity
from components.image_family import ImageFamily, family_args, planned_tags
from components.keeper import docker_socket
from components.platform import Platform, PlatformArgs
from components.secrets import SecretFiles
from components.settings import config_value, load
from components.sources import KEPT, Sources, TorchChoice, choose_sources

Outputs = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What the program knows of the stack that it declares."""

    identity: StackIdentity
    config: Callable[[str], str | None]  # the text of a key of this project
    dry_run: bool
    python: str  # the interpreter of this program, for the commands that it declares

    @property
    def file(self) -> str:
        """The name of its stack file."""
        return f"Pulumi.{self.identity.stack}.yaml"

    @property
    def files(self) -> HostFiles:
        """Its files on this host."""
        return HostFiles(folder=stack_folder(self.identity), dry_run=self.dry_run)

    @property
    def preflight(self) -> bool:
        """Whether the host is checked first."""
        return self.config("preflight") != "false"

    def secrets(self, place: ClusterPlace | None) -> SecretFiles:
        """Its secrets; those of a cluster are the same on all its hosts."""
        project, files = self.identity.project, self.files
        if place is None:
            return SecretFiles.resolve(files, self.config, stack_file=self.file, namespace=project)
        key = cluster_key(place, self.config, project=project, stack_file=self.file, dry_run=self.dry_run)
        cluster = place.cluster.name

        def made(name: str) -> str:
            return files.keep(name, derived(key, cluster, name))

        return SecretFiles.resolve(files, self.config, stack_file=self.file, namespace=project, made=made)

    def sources(self, images: BuildSettings, *, torch: TorchChoice, devel: bool = False) -> Sources:
        """Where its images come from; says so, where that was found out just now."""
        kept = self.files.folder / KEPT
        sources, notes = choose_sources(images, torch=torch, devel=devel, kept=kept, dry_run=self.dry_run)
        for note in notes:
            pulumi.info(note)
        return sources


def declare(stack: Stack) -> Outputs:
    """Declares what the stack's config asks for, and returns the stack's outputs.

    Raises:
        SettingsError: the config, or the host, makes that impossible.
        SecretError: a secret of the config does, or the key of the cluster is not here yet.
        ReportError: the table of budgets cannot be read.
    """
    return declare_family(stack) if stack.config("matrix") is not None else declare_platform(stack)


def declare_platform(stack: Stack) -> Outputs:
    """One host's part of the platform."""
    place = find_place(stack.config, stack=stack.identity.stack, stack_file=stack.file)
    settings = load(config_value(stack.config("platform")), stack_file=stack.file, place=place)
    facts = None
    if stack.preflight:
        facts = host.HostFacts.probe(stack.identity.project, stack.identity.stack, gpus=settings.gpu.enabled)
        host.check(settings, facts, stack.file)
    secrets = stack.secrets(place)
    if facts and place:
        cluster = ClusterFacts.probe(
            place, machine=stack.files.generated(MACHINE), password=secrets.values["redis-password"]
        )
        for remark in cluster_checks.check(settings, facts, cluster):
            (pulumi.warn if remark.warning else pulumi.info)(remark.text)
    sources = stack.sources(settings.images, torch=settings.torch)
    platform = Platform(
        "platform",
        PlatformArgs(
            settings=settings,
            identity=stack.identity,
            files=stack.files,
            secrets=secrets,
            sources=sources,
            socket=docker_socket(),
            python=stack.python,
        ),
    )
    outputs: dict[str, Any] = {
        "urls": platform.urls(),
        "sources": {"bases": sources.bases, "torch": sources.torch},
        **({"single_point": point} if place and (point := cluster_checks.single_point(place.cluster)) else {}),
    }
    if platform.verification is None:
        return outputs
    result = platform.verification.result.apply(json.loads)
    return {**outputs, "verification": result, "verification_spec": platform.verification.spec}


def declare_family(stack: Stack) -> Outputs:
    """The selected images, and nothing that runs."""
    matrix_settings.refuse_beside(config_value(stack.config("platform")), stack_file=stack.file)
    raw = config_value(stack.config("matrix"))
    args = family_args(raw, stack_file=stack.file, python=stack.python, choose=stack.sources)
    if stack.preflight:
        build_host.check(planned_tags(args), build_host.BuildHost.probe(), stack.file)
    family, sources = ImageFamily("family", args), args.sources
    return {"images": family.tags(), "sources": {"bases": sources.bases, "pyg": sources.pyg, "nvidia": sources.nvidia}}
