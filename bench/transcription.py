"""How fast the transcription service starts and hears, beside whisper's command with the same model, and its size.

``python -m bench.transcription``. Both run in containers of two CPUs and hear the same speech in turn, several times,
in one run. The command is whisper-ctranslate2, as people install it (bench/naive/transcription.Dockerfile): it starts
and loads its model for each file; the service has loaded it.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests
from docker.models.containers import Container
from docker.types import Mount
from rich.console import Console

from bench.document import WIDE, machine, version_of, write_section
from bench.recipe_builds import base_of, copy_context, relative, remove, seconds, size, timed, verdict
from components.transcription import WAITING
from config.project import FOLDER
from config.services import TranscriptionSettings as ServiceSettings
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.transcription import TranscriptionSettings
from docker_api.api import DockerApi
from images.catalog import CATALOG
from stack.programs import PROGRAMS_TARGET
from testing.servers import free_port

IMAGE = CATALOG["transcription-backend"]
PEER = Path(__file__).parent / "naive" / "transcription.Dockerfile"
CLI = "whisper-ctranslate2==0.5.8"  # faster-whisper's own engine, so that only what is around it differs
OURS, THEIRS = "cslr-bench/transcription:platform", "cslr-bench/transcription:cli"
CPUS = 2
TOKEN = "bench"  # noqa: S105 - of a service that runs for this measurement
STARTS, POLL_SECONDS, PATIENCE = 10, 0.01, 300
GB, MB = 1e9, 1e6
START_GOAL, SIZE_GOAL = 3.0, 0.65  # seconds, GB
EXAMPLE, SPEECH = "english.wav", "speech.wav"  # in /opt/examples of both, and of the peer alone
TEXT = """
Good evening. Here is the weather forecast for tomorrow, Sunday the sixth of May. In the north it will rain for most of
the day, with strong winds along the coast and temperatures of about eleven degrees. In the west the clouds will break
in the afternoon, and there will be some sunshine before the evening. The south will be sunny and warm, with up to
nineteen degrees in the valleys. During the night the sky will be clear, and there may be some frost in the mountains.
On Monday the rain will move to the east, and it will become colder everywhere. On Tuesday there will be showers in many
places, and thunderstorms are possible near the lakes. From Wednesday on it will be dry and mostly sunny, and the
temperatures will rise to twenty degrees by the end of the week. The outlook for the weekend is good. Please take care
on the roads early in the morning, because there may be fog in the low places. That was the weather. Good night.
"""
OUTPUT = "/tmp"  # noqa: S108 - of a container
COMMAND = (
    "whisper-ctranslate2", "--model_directory", "/opt/models/whisper-base", "--device", "cpu", "--compute_type", "int8",
    "--threads", str(CPUS), "--word_timestamps", "True", "--vad_filter", "True", "--language", "en",
    "--output_format", "txt", "--output_dir", OUTPUT,
)  # fmt: skip


@dataclass(kw_only=True)
class Heard:
    """What one contender took for one file, and the words that it heard at last."""

    seconds: list[float] = field(default_factory=list)
    words: int = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything."""

    ready: list[float]  # seconds from Docker's start to an answer of GET /health
    first: list[float]  # seconds from Docker's start to the words of the example
    durations: dict[str, float]  # file → seconds of sound
    heard: dict[tuple[str, str], Heard]  # contender, file
    memory: float  # bytes, the service's most


def main() -> int:
    """Measures, and writes the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.transcription", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    host = machine() | {"commit": version_of("git", "describe", "--always", "--dirty")}
    api = DockerApi()
    base = base_of(IMAGE, api)
    try:
        make(api, base)
        sizes = {tag: size(api, tag) for tag in (base, OURS, THEIRS)}
        measured = measure(rounds)
    finally:
        remove(api, THEIRS, OURS)
    text = "\n".join(lines(measured, sizes, base, rounds, host))
    Console(width=None if sys.stdout.isatty() else WIDE).print(text, markup=False)
    write_section("transcription", text)
    return 0


def make(api: DockerApi, base: str) -> None:
    """Builds both images."""
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as name:
        copy_context(IMAGE, Path(name))
        tell(f"image: {timed(api, Path(name), IMAGE.recipe, OURS, {'BASE': base}, fresh=False):.1f} s")
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as name:
        (Path(name) / "Dockerfile").write_text(PEER.read_text())
        args = {"BASE": base, "BACKEND": OURS, "CLI": CLI, "TEXT": " ".join(TEXT.split())}
        tell(f"peer: {timed(api, Path(name), 'Dockerfile', THEIRS, args, fresh=False):.1f} s")


def tell(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Service:
    """The service in a container, as a stack starts it."""

    container: Container
    url: str

    def hears(self, name: str, sound: bytes) -> str:
        """The text of a file."""
        answer = requests.post(
            f"{self.url}/v1/audio/transcriptions",
            headers={"Authorization": f"Bearer {TOKEN}"},
            files={"file": (name, sound)},
            data={"model": "whisper-1", "language": "en", "response_format": "text"},
            timeout=PATIENCE,
        )
        answer.raise_for_status()
        return answer.text

    def example(self) -> bytes:
        """The sentence of the image."""
        answer = requests.get(
            f"{self.url}/v1/files/content?path=examples/{EXAMPLE}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=PATIENCE,
        )
        answer.raise_for_status()
        return answer.content


@contextlib.contextmanager
def created(token: Path) -> Iterator[tuple[Container, str]]:
    """A container of the service that is not started, and where it will answer; removed in the end."""
    port = free_port()
    settings = TranscriptionSettings(stack="bench", threads=CPUS)
    mounts = {FOLDER / package: f"{PROGRAMS_TARGET}/{package}" for package in ("entrypoints", "contracts")}
    mounts[token] = str(settings.token)
    container: Container = docker.from_env(timeout=PATIENCE).containers.create(
        OURS,
        ["python3", "-m", "entrypoints.transcription.server"],
        environment={**WAITING, SETTINGS_VARIABLE: dump(settings)},
        working_dir=PROGRAMS_TARGET,
        mounts=[Mount(target, str(source), type="bind", read_only=True) for source, target in mounts.items()],
        ports={f"{settings.port}/tcp": ("127.0.0.1", port)},
        nano_cpus=int(CPUS * GB),
        mem_limit=ServiceSettings().memory,
        init=True,
    )
    try:
        yield container, f"http://127.0.0.1:{port}"
    finally:
        container.remove(force=True, v=True)


def started(container: Container, url: str) -> Service:
    """Starts it, and waits until it answers."""
    container.start()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{url}/health", timeout=PATIENCE).ok:
                return Service(container=container, url=url)
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the service does not answer: {log_of(container)}")


def log_of(container: Container) -> str:
    """What it wrote."""
    found: Any = container.logs(tail=20)
    return bytes(found).decode(errors="replace")


@contextlib.contextmanager
def command() -> Iterator[Container]:
    """A container in which whisper's command is called; removed in the end."""
    container: Container = docker.from_env(timeout=PATIENCE).containers.run(
        THEIRS, detach=True, init=True, nano_cpus=int(CPUS * GB), environment=WAITING
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def inside(container: Container, *words: str) -> bytes:
    """The output of a command there. Raises `RuntimeError` where it fails."""
    done: Any = container.exec_run(list(words), demux=True)
    out, err = done.output
    if done.exit_code:
        raise RuntimeError(f"{' '.join(words)} ended with {done.exit_code}: {(err or b'').decode()[-2000:]}")
    return bytes(out or b"")


def measure(rounds: int) -> Measured:
    """Starts first, then both contenders in turn."""
    with tempfile.TemporaryDirectory(prefix="cslr-bench-") as name:
        token = Path(name) / "token"
        token.write_text(TOKEN)
        ready, first = [], []
        sound = b""
        for _ in range(STARTS):
            with created(token) as (container, url):
                began = time.monotonic()
                service = started(container, url)
                ready.append(time.monotonic() - began)
                if sound:
                    service.hears(EXAMPLE, sound)
                    first.append(time.monotonic() - began)
                sound = sound or service.example()
        tell(f"ready: {ready}, first sentence: {first}")
        with created(token) as (container, url), command() as cli:
            return in_turn(started(container, url), cli, sound, rounds, ready, first)


def in_turn(
    service: Service, cli: Container, example: bytes, rounds: int, ready: list[float], first: list[float]
) -> Measured:
    """Both hear both files, one after the other; who begins changes from round to round."""
    sounds = {EXAMPLE: example, SPEECH: inside(cli, "cat", f"/opt/examples/{SPEECH}")}
    heard = {(who, name): Heard() for who in ("service", "command") for name in sounds}
    service.hears(EXAMPLE, example)  # its model is loaded now
    memory = 0.0
    for number in range(rounds):
        for who in ("service", "command") if number % 2 else ("command", "service"):
            for name, sound in sounds.items():
                began = time.monotonic()
                if who == "service":
                    text = service.hears(name, sound)
                else:
                    inside(cli, *COMMAND, f"/opt/examples/{name}")
                took = time.monotonic() - began
                if who == "command":
                    text = inside(cli, "cat", f"{OUTPUT}/{Path(name).stem}.txt").decode()
                found = heard[who, name]
                found.seconds.append(took)
                found.words = len(text.split())
                tell(f"{who}, {name}: {took:.2f} s, {found.words} words")
        stats: Any = service.container.stats(stream=False)
        memory = max(memory, float(stats["memory_stats"].get("max_usage") or stats["memory_stats"]["usage"]))
    durations = {name: duration(sound) for name, sound in sounds.items()}
    return Measured(ready=ready, first=first, durations=durations, heard=heard, memory=memory)


def duration(sound: bytes) -> float:
    """Seconds of a WAV file."""
    with wave.open(io.BytesIO(sound)) as file:
        return float(file.getnframes() / file.getframerate())


def spread(values: Sequence[float]) -> str:
    """Median, and the range."""
    return f"{statistics.median(values):.1f} s ({min(values):.1f} to {max(values):.1f})"


def lines(measured: Measured, sizes: dict[str, int], base: str, rounds: int, host: dict[str, str]) -> Iterator[str]:
    """The section of the document."""
    words = len(TEXT.split())
    yield "## Transcription"
    yield ""
    yield f"The service beside whisper's command, `{CLI.replace('==', ' ')}`, on {CPUS} CPUs each: the model of the"
    yield f"image in 8-bit integers, {CPUS} threads, word times, voice detection. Both hear the same speech in turn,"
    yield f"{rounds} times, in one run; the command starts and loads its model for each file, the service has loaded"
    yield "it. Medians, and the range."
    yield "Speech is espeak-ng's: its words say nothing about accuracy."
    yield ""
    yield "| speech | service | share of its duration | command | share | words: said, service, command |"
    yield "|---|---:|---:|---:|---:|---|"
    for name, length in measured.durations.items():
        ours, theirs = (measured.heard[who, name] for who in ("service", "command"))
        said = words if name == SPEECH else 9
        yield (
            f"| {length:.1f} s | {spread(ours.seconds)} | {statistics.median(ours.seconds) / length:.2f} |"
            f" {spread(theirs.seconds)} | {statistics.median(theirs.seconds) / length:.2f} |"
            f" {said}, {ours.words}, {theirs.words} |"
        )
    yield ""
    slope = {who: marginal(measured, who) for who in ("service", "command")}
    yield (
        f"Each further second of speech, from the difference of the two: service {slope['service']:.3f} s,"
        f" command {slope['command']:.3f} s."
    )
    yield ""
    yield "| | goal | measured | |"
    yield "|---|---:|---:|---|"
    slowest = max(measured.ready)
    yield (
        f"| `GET /health` answers after Docker's start, slowest of {len(measured.ready)} (median"
        f" {statistics.median(measured.ready):.2f} s) | {START_GOAL:.0f} s | {slowest:.2f} s |"
        f" {verdict(slowest <= START_GOAL)} |"
    )
    yield (
        f"| words of a sentence of {measured.durations[EXAMPLE]:.1f} s after Docker's start, slowest of"
        f" {len(measured.first)} (median {statistics.median(measured.first):.2f} s) | |"
        f" {seconds(max(measured.first))} | |"
    )
    total = sizes[OURS] / GB
    yield f"| image with its model | {SIZE_GOAL} GB | {total:.3f} GB | {verdict(total <= SIZE_GOAL)} |"
    yield f"| of that above its base | | {(sizes[OURS] - sizes[base]) / MB:.0f} MB | |"
    yield f"| the command's image (`{relative(PEER)}`), same base and model | | {sizes[THEIRS] / GB:.3f} GB | |"
    yield f"| most memory of the service's container, as Docker counts it | | {measured.memory / MB:.0f} MB | |"
    yield ""
    yield "; ".join(f"{name}: {value}" for name, value in host.items()) + "."
    yield f"Command: `python -m bench.transcription --rounds {rounds}`."


def marginal(measured: Measured, who: str) -> float:
    """Seconds for a further second of speech: what starts and loads is in both files."""
    short, long = (statistics.median(measured.heard[who, name].seconds) for name in (EXAMPLE, SPEECH))
    return (long - short) / (measured.durations[SPEECH] - measured.durations[EXAMPLE])


if __name__ == "__main__":
    sys.exit(main())
