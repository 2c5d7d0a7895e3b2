"""Where the programs run: in a container of an image, or in a plain environment of this host."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import docker
from docker.models.containers import Container
from docker.types import DeviceRequest, Mount

from images.catalog import NONE
from images.family import BuildTarget
from tests.images.environment import VENV
from tests.images.programs import INSIDE, Check, Program

SUBJECT = "CSLR_SUBJECT"  # environment variable by which the checks know what to expect, as JSON
BASE = "base"  # the layer that is the image itself, which no environment has
AT_ONCE = 2  # programs
MOUNTED_AT = "/checks"
RUNNER = "run_checks.py"
MEMORY = "6g"
SHARED_MEMORY = "256m"
KILL_SECONDS = 5
LABELS = {"cslr.project": "cslr-test-images"}


def facts_of(subject: BuildTarget, *, pyg_lib: str, nvcc: str) -> dict[str, Any]:
    """What the checks expect. ``pyg_lib`` and ``nvcc``, whose sources may be out of reach, may be none."""
    variant = subject.variant
    versions = subject.image.versions(variant)
    return {
        "cuda": variant.cuda,
        "python": variant.python,
        "torch": variant.torch,
        "torch_cuda": variant.torch_cuda,
        "pyg_lib": pyg_lib,
        "nvcc": nvcc,
        "versions": versions | ({} if pyg_lib == NONE else {"pyg-lib": pyg_lib}),
    }


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a check."""

    result: str  # pass, skip, fail
    detail: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A program that ran to its end, or was ended."""

    code: int
    output: str
    errors: str


@dataclass(kw_only=True)
class Place(ABC):
    """Runs each program once, some at the same time, and knows what came of every check."""

    subject: BuildTarget
    layers: tuple[str, ...]
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE))
    _running: dict[Program, Future[dict[str, Outcome]]] = field(default_factory=dict)

    def begin(self, programs: Iterable[Program]) -> None:
        """Have these run, those first that may take longest."""
        for program in sorted(programs, key=lambda program: -program.seconds):
            if program not in self._running:
                self._running[program] = self._pool.submit(self._outcomes, program)

    def outcome(self, check: Check) -> Outcome:
        """Wait for what comes of a check."""
        self.begin([check.program])
        return self._running[check.program].result()[check.name]

    def close(self) -> None:
        """End what still runs."""
        self._pool.shutdown(cancel_futures=True)

    @abstractmethod
    def run(self, program: Program) -> Ended:
        """Run a program to its end, or for as long as it may take."""

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the place should hold."""

    @cached_property
    def subject_variable(self) -> dict[str, str]:
        """The facts, as programs read them."""
        return {SUBJECT: json.dumps(self.facts)}

    def _outcomes(self, program: Program) -> dict[str, Outcome]:
        ended = self.run(program)
        found = {}
        for line in ended.output.splitlines():
            said = json.loads(line)
            found[said["check"]] = Outcome(result=said["result"], detail=said["detail"])
        # A crash, or the end of its time, is the failure of the check that was under way, and of all after it.
        lost = Outcome(result="fail", detail=f"{program.name} ended with exit code {ended.code}:\n{ended.errors}")
        return {name: found.get(name, lost) for name in program.checks}


@dataclass(kw_only=True)
class ImageContainer(Place):
    """A container as the platform starts its own: read-only root, no right, no network; removed in the end."""

    engine: docker.DockerClient
    tag: str

    @cached_property
    def image(self) -> dict[str, Any]:
        """What `docker inspect` says of the image."""
        return dict(self.engine.images.get(self.tag).attrs)

    @property
    def labels(self) -> dict[str, str]:
        """The image's."""
        return dict(self.image["Config"]["Labels"] or {})

    @property
    def facts(self) -> dict[str, Any]:
        """As locked; and where the label names what could not be had, as it says."""
        labels = self.labels
        pyg_lib, nvcc = (labels.get(f"cslr.{name}", NONE) for name in ("pyg-lib", "nvcc"))
        return facts_of(self.subject, pyg_lib=pyg_lib, nvcc=nvcc)

    @cached_property
    def container(self) -> Container:
        """Started when it is first needed."""
        gpus = "nvidia" in self.engine.info()["Runtimes"]
        # It does nothing by itself: programs are started in it. With an init, which ends what they leave behind.
        return self.engine.containers.run(
            self.tag, ["sleep", "infinity"], detach=True, init=True, network_mode="none", read_only=True,
            cap_drop=["ALL"], security_opt=["no-new-privileges:true"], tmpfs={"/tmp": "exec,size=2g"},
            mem_limit=MEMORY, memswap_limit=MEMORY, pids_limit=4096, shm_size=SHARED_MEMORY,
            mounts=[Mount(MOUNTED_AT, str(INSIDE), type="bind", read_only=True)],
            environment={"HOME": "/tmp", **self.subject_variable}, labels=LABELS,
            device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if gpus else [],
        )  # fmt: skip

    def files_below(self, *folders: str) -> list[str]:
        """What the image itself has in folders, without running it."""
        created = self.engine.containers.create(self.tag, labels=LABELS)
        try:
            return [name for folder in folders for name in _names(created, folder)]
        finally:
            created.remove()

    def run(self, program: Program) -> Ended:
        """See Place."""
        limit = ["timeout", f"--kill-after={KILL_SECONDS}", str(program.seconds)]
        command = [*limit, "python", "-P", f"{MOUNTED_AT}/{RUNNER}", f"{MOUNTED_AT}/{program.path.as_posix()}"]
        code, (output, errors) = cast(
            "tuple[int, tuple[bytes | None, bytes | None]]",
            self.container.exec_run(command, user=program.user, demux=True),
        )
        return Ended(code=code, output=_text(output), errors=_text(errors))

    def close(self) -> None:
        """See Place."""
        if "container" in vars(self):
            self.container.remove(force=True, v=True)
        super().close()


@dataclass(kw_only=True)
class Environment(Place):
    """What the image would hold, in a folder of this host that environment.py made."""

    folder: Path
    scratch: Path

    @property
    def venv(self) -> Path:
        """The environment of Python."""
        return self.folder / VENV

    @property
    def facts(self) -> dict[str, Any]:
        """As locked; and what could not be had, as it is here."""
        has_nvcc = "toolkit" in self.layers and shutil.which("nvcc", path=self._path)
        nvcc = self.subject.variant.cuda if has_nvcc else NONE
        return facts_of(self.subject, pyg_lib=self._pyg_lib(), nvcc=nvcc)

    def run(self, program: Program) -> Ended:
        """See Place. What a program leaves running is ended with it."""
        command = [str(self.venv / "bin/python"), "-P", str(INSIDE / RUNNER), str(INSIDE / program.path)]
        environment = {**os.environ, "PATH": self._path, "TMPDIR": str(self.scratch), **self.subject_variable}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            output, errors = process.communicate(timeout=program.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return Ended(code=process.returncode, output=output, errors=errors)

    @property
    def _path(self) -> str:
        return f"{self.venv / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def _pyg_lib(self) -> str:
        found = list(self.venv.glob("lib/python3*/site-packages/pyg_lib-*.dist-info"))
        return found[0].name.removesuffix(".dist-info").split("-")[1] if found else NONE


def _text(output: bytes | None) -> str:
    return (output or b"").decode(errors="replace")


def _names(container: Container, folder: str) -> list[str]:
    chunks, _ = container.get_archive(folder)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        return archive.getnames()[1:]  # without the folder's own
