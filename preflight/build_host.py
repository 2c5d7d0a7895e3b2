"""Checks before the first build that a host can build the selected images."""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import docker
from docker.errors import DockerException

from config.matrix import KEY
from config.problems import Problem, Remove, Set, SettingsError
from docker_api.api import bytes_free, data_root
from docker_api.builds import INSTALL_EMULATOR
from images.base.bootstrap import BINFMT, MACHINES
from images.base.recipe import architecture
from images.family import BuildTarget
from preflight.disk import GB, estimate, layer_budgets
from preflight.host_facts import ENGINE_TIMEOUT

SPARE = 10 * GB  # besides the images themselves: layers exist twice while they are exported


@dataclass(frozen=True, kw_only=True)
class BuildHost:
    """The host that builds. Every default means "not known", and no check fails for it."""

    processor: str = ""  # "x86_64"
    foreign: frozenset[str] = frozenset()  # processors whose programs the kernel runs in an emulator
    docker_root: str = ""  # where Docker keeps images
    free: int | None = None  # bytes there
    tags: frozenset[str] = frozenset()  # of all local images

    @classmethod
    def probe(cls) -> "BuildHost":
        """Probe the host of the Docker Engine. The free disk space of a remote host is unknown."""
        try:
            client = docker.from_env(timeout=ENGINE_TIMEOUT)
            info = client.info()
            tags = frozenset(tag for image in client.api.images() for tag in image["RepoTags"] or ())
        except (DockerException, OSError):
            return cls(processor=platform.machine())
        return cls(
            processor=info["Architecture"],
            foreign=frozenset(p for p in MACHINES.values() if (BINFMT / f"qemu-{p}").exists()),
            docker_root=info["DockerRootDir"],
            free=bytes_free(data_root(info)),
            tags=tags,
        )


def check(tags: Sequence[tuple[BuildTarget, str]], host: BuildHost, stack_file: str) -> None:
    """Passes if the host can build the images, each given with its tag.

    Raises:
        SettingsError: with every reason why it cannot.
    """
    problems = [*disk_suffices(tags, host), *platforms_can_run(tags, host)]
    if problems:
        raise SettingsError(problems, stack_file, KEY)


def room(tags: Sequence[tuple[BuildTarget, str]], host: BuildHost) -> tuple[int, int]:
    """The number of missing images, and the bytes that they will take."""
    here = [wanted for wanted, tag in tags if tag in host.tags]
    missing = [wanted for wanted, tag in tags if tag not in host.tags]
    return len(missing), estimate(missing, here, layer_budgets())


def disk_suffices(tags: Sequence[tuple[BuildTarget, str]], host: BuildHost) -> Iterator[Problem]:
    """There is room for the missing images, and to build them."""
    missing, needed = room(tags, host)
    if host.free is not None and missing and host.free < needed + SPARE:
        yield Problem(
            (),
            f"the {missing} images that are missing need {needed / GB:.1f} GB, and {SPARE / GB:.0f} GB to be built in, "
            f"but {host.docker_root} has {host.free / GB:.1f} GB left",
            "Free that much, for example of what is no longer wanted of this project; or build fewer:",
            ("ws matrix --prune --no-build", Set(("minimal",), value=True)),
        )


def platforms_can_run(tags: Sequence[tuple[BuildTarget, str]], host: BuildHost) -> Iterator[Problem]:
    """Programs of each platform run here, if necessary in an emulator: builds run them."""
    for name in dict.fromkeys(wanted.platform for wanted, _ in tags):
        processor = MACHINES[architecture(name)]
        if host.processor and processor not in (host.processor, *host.foreign):
            yield Problem(
                ("platforms",),
                f"nothing on this host, whose processor is {host.processor}, runs programs for {name}",
                "Install the emulator and tell the kernel of it, or do without that platform:",
                (f"sudo {INSTALL_EMULATOR}", Remove(("platforms",))),
            )
