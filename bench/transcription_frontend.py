"""How long the image of the transcription page takes, cold for two platforms and after changes, and its size.

``python -m bench.transcription_frontend``. Cold: no step comes from the build cache, on a base that is there; once with
packages in the caches of pip and npm, once without those caches. The second platform is a second base of this
processor: what differs between platforms is built on it, the page is not. Where programs of the other processor run
(binfmt), `ws matrix` and `ws build` build for it; their time is that of the emulation.
"""

import gzip
import io
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
from rich.console import Console

from bench.document import WIDE, machine, version_of, write_section
from bench.recipe_builds import RUN, base_of, copy_context, remove, seconds, size, timed, verdict
from docker_api.api import DockerApi
from images.catalog import CATALOG

IMAGE = CATALOG["transcription-frontend"]
TAG = "cslr-bench/transcription-frontend"
FIRST, SECOND, OTHER_BASE = f"{TAG}:first", f"{TAG}:second", f"{TAG}:base"
FORMER, GOAL = "3 min 16 s", 60.0
CACHE_MOUNT = re.compile(r" *--mount=type=cache,\S+ \\\n")
MB, KB = 1e6, 1e3


@dataclass(frozen=True, kw_only=True)
class Step:
    """One build of the image."""

    what: str
    tag: str
    change: Callable[[Path], None] = lambda _: None
    fresh: bool = False


def with_caches(_folder: Path) -> None:
    """The Dockerfile as it is."""


def without_caches(folder: Path) -> None:
    """Takes the caches of packages from the Dockerfile: all are downloaded."""
    file = folder / "Dockerfile"
    text, number = CACHE_MOUNT.subn("", file.read_text())
    if number != 2:  # pip's and npm's
        raise RuntimeError(f"{number} caches of packages instead of 2: has the Dockerfile changed?")
    file.write_text(text)


def page(folder: Path) -> None:
    """An edit of the page."""
    file = folder / "src" / "main.tsx"
    file.write_text(f"{file.read_text()}// {RUN}\n")


def configuration(folder: Path) -> None:
    """An edit of nginx's configuration."""
    file = folder / "nginx.conf"
    file.write_text(f"# {RUN}\n{file.read_text()}")


COLD = (
    Step(what="first platform", tag=FIRST, fresh=True),
    Step(what="second platform, the page is not built again", tag=SECOND),
)
CHANGES = (
    Step(what="a change of the page", tag=FIRST, change=page),
    Step(what="a change of nginx's configuration", tag=FIRST, change=configuration),
)


def main() -> int:
    """Measures, and writes the section."""
    host = machine() | {"commit": version_of("git", "describe", "--always", "--dirty")}
    api = DockerApi()
    base = base_of(IMAGE, api)
    try:
        downloaded = measure(api, COLD, base, without_caches)
        times = measure(api, (*COLD, *CHANGES), base, with_caches)
        total, over = size(api, FIRST), size(api, FIRST) - size(api, base)
        sent = compressed()
    finally:
        remove(api, FIRST, SECOND, OTHER_BASE)
    text = "\n".join(lines(downloaded, times, total, over, sent, host))
    Console(width=None if sys.stdout.isatty() else WIDE).print(text, markup=False)
    write_section("transcription_frontend", text)
    return 0


def measure(api: DockerApi, steps: tuple[Step, ...], base: str, prepare: Callable[[Path], None]) -> list[float]:
    """Seconds of each step, on what the one before it left."""
    found = []
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as name:
        folder = Path(name)
        copy_context(IMAGE, folder)
        prepare(folder)
        second_base(api, base, content=f"{RUN} {prepare.__name__}")
        for step in steps:
            step.change(folder)
            args = {"BASE": base if step.tag == FIRST else OTHER_BASE, "BUILD_BASE": base}
            found.append(timed(api, folder, IMAGE.recipe, step.tag, args, fresh=step.fresh))
            print(f"{step.what}: {found[-1]:.1f} s", file=sys.stderr, flush=True)
    return found


def second_base(api: DockerApi, base: str, content: str) -> None:
    """A base of other content, as another platform has: nothing that is built on it comes from the build cache."""
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as name:
        (Path(name) / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nARG RUN\nRUN echo ${RUN} > /bench\n")
        timed(api, Path(name), "Dockerfile", OTHER_BASE, {"BASE": base, "RUN": content}, fresh=False)


def compressed() -> dict[str, float]:
    """Bytes of the page as browsers get it: kind of file → sum."""
    command = ["sh", "-c", "cd /srv/site && tar -c $(find . -name '*.js' -o -name '*.css' -o -name '*.html')"]
    client = docker.from_env()
    return {
        kind: float(
            sum(len(gzip.compress(content, 9)) for name, content in files(client, command) if name.endswith(kind))
        )
        for kind in (".js", ".css", ".html")
    }


def files(client: docker.DockerClient, command: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of what a command of the image packs."""
    packed = client.containers.run(FIRST, command, remove=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if content := archive.extractfile(member):
                yield member.name, content.read()


def lines(
    downloaded: list[float], times: list[float], total: int, over: int, sent: dict[str, float], host: dict[str, str]
) -> Iterator[str]:
    """The section of the document."""
    yield "## The transcription page"
    yield ""
    yield "The image `transcription-frontend`, on a base that is there. Cold: no step from the build cache. The second"
    yield "platform is a second base of this processor: the emulation of another processor is not in its time. Former:"
    yield "another program, elsewhere, for linux/amd64 and linux/arm64."
    yield ""
    yield "| | former | goal | packages downloaded | packages in caches of pip and npm | |"
    yield "|---|---|---:|---:|---:|---|"
    for number, step in enumerate(COLD):
        yield f"| cold, {step.what} | | | {seconds(downloaded[number])} | {seconds(times[number])} | |"
    both, cached = sum(downloaded), sum(times[: len(COLD)])
    yield (f"| cold, both | {FORMER} | {GOAL:.0f} s | {seconds(both)} | {seconds(cached)} | {verdict(both <= GOAL)} |")
    for step, took in zip(CHANGES, times[len(COLD) :], strict=True):
        yield f"| after {step.what} | | | | {seconds(took)} | |"
    yield ""
    kinds = ", ".join(
        f"{name} {value / KB:.0f}" for name, value in zip(("scripts", "style", "page"), sent.values(), strict=True)
    )
    yield (
        f"Image: {total / MB:.1f} MB, {over / MB:.1f} MB of them above its base. A browser gets"
        f" {sum(sent.values()) / KB:.0f} kB (`gzip -9`; {kinds})."
    )
    yield ""
    yield "; ".join(f"{name}: {value}" for name, value in host.items()) + "."
    yield "Command: `python -m bench.transcription_frontend`."


if __name__ == "__main__":
    sys.exit(main())
