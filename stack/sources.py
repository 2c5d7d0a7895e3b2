"""Chooses the sources of images if the settings leave them open (`auto`): probes once, then keeps the answers.

Kept in the state folder, because an answer that changes with the network's condition would rebuild every image.
"""

import http.client
import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from config.builds import BuildSettings
from images.base.recipe import Source
from images.catalog import Flavour
from images.variants import DEFAULT_VARIANT
from stack import base_age
from stack.state import write_atomically

IMAGE_REGISTRY = "https://registry-1.docker.io/v2/"
PYTORCH_INDEX = "https://download.pytorch.org/whl"
PYG_INDEX = "https://data.pyg.org/whl"
PYG_PAGE = f"torch-{DEFAULT_VARIANT.torch}+cu{DEFAULT_VARIANT.torch_cuda.replace('.', '')}.html"
NVIDIA_APT = "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64"
PROBE_SECONDS = 3.0
ANSWERS_FILE = "sources.json"  # the file of answers, in a stack's folder

TorchChoice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The chosen sources."""

    bases: Source
    torch: Flavour
    pyg: bool = False  # whether PyG's own wheel index is used
    nvidia: bool = False  # whether NVIDIA's apt repository is
    edition: str = ""  # the day on which the bases of this host were renewed last


@dataclass(frozen=True, kw_only=True)
class Question:
    """A server to probe, and what follows from whether it answers."""

    name: str  # in notes and in the file of kept answers
    server: str
    yes: str = "yes"
    no: str = "no"
    otherwise: str = ""  # what is to be said where it does not answer
    header: str | None = None  # what only the server itself sends


BASES = Question(
    name="bases",
    server="the image registry",
    yes="registry",
    no="bootstrap",
    header="docker-distribution-api-version",
)
TORCH = Question(
    name="torch",
    server="PyTorch's index of CPU wheels",
    yes="cpu",
    no="cuda",
    otherwise="; this build runs on CPUs as well",
)
PYG = Question(name="pyg-lib", server="PyG's wheel index", otherwise="; PyG works without it, more slowly")
NVIDIA = Question(
    name="nvidia", server="NVIDIA's package repository", otherwise="; devel images for CUDA 12 have no nvcc"
)


def choose_sources(
    images: BuildSettings, *, torch: TorchChoice, devel: bool = False, kept: Path, dry_run: bool
) -> tuple[Sources, tuple[str, ...]]:
    """The sources for a stack, and a sentence on each one that was probed just now.

    `devel`: whether images with a compiler are among them. `kept` is the file with earlier answers; it is written
    unless `dry_run`. Deleting it probes again.
    """
    ask = _Answers(kept)
    mirrors = images.mirrors
    bases = images.bases if images.bases != "auto" else ask(BASES, IMAGE_REGISTRY)
    if torch == "auto":
        torch = "cpu" if ask(TORCH, f"{mirrors.pytorch or PYTORCH_INDEX}/cpu/torch/") == TORCH.yes else "cuda"
    chosen = Sources(
        bases="registry" if bases == BASES.yes else "bootstrap",
        torch=torch,
        pyg=images.pyg_lib == "auto" and ask(PYG, f"{mirrors.pyg or PYG_INDEX}/{PYG_PAGE}") == PYG.yes,
        nvidia=devel and ask(NVIDIA, f"{mirrors.nvidia or NVIDIA_APT}/Packages.gz") == NVIDIA.yes,
        edition=base_age.edition(),
    )
    if not dry_run:
        ask.keep()
    return chosen, tuple(ask.notes)


class Indices(TypedDict):
    """The package indices of a build, as `ImageVariantArgs` names them; None where there is none to name."""

    pypi_index: str | None
    pytorch_index: str | None
    pyg_index: str | None
    nvidia_apt: str | None
    npm_registry: str | None


def indices(images: BuildSettings, sources: Sources) -> Indices:
    """The package indices of a stack's builds."""
    mirrors = images.mirrors
    return Indices(
        pypi_index=mirrors.pypi,
        pytorch_index=mirrors.pytorch,
        pyg_index=mirrors.pyg or PYG_INDEX if sources.pyg else None,
        nvidia_apt=mirrors.nvidia or NVIDIA_APT if sources.nvidia else None,
        npm_registry=mirrors.npm,
    )


class _Answers:
    """Asks each question once in the life of a stack."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self._known = _read(kept)
        self._new: dict[str, str] = {}
        self.notes: list[str] = []

    def __call__(self, question: Question, url: str) -> str:
        if question.name in self._known:
            return self._known[question.name]
        answered = reachable(url, needed_header=question.header)
        answer = question.yes if answered else question.no
        reason = "answers" if answered else f"does not answer{question.otherwise}"
        self.notes.append(f"{question.name}: {answer} ({question.server} {reason})")
        self._new[question.name] = answer
        return answer

    def keep(self) -> None:
        if self._new:
            write_atomically(self._kept, json.dumps({**self._known, **self._new}).encode(), 0o600)


def _read(kept: Path) -> dict[str, str]:
    try:
        answers = json.loads(kept.read_text())
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def reachable(url: str, *, needed_header: str | None = None) -> bool:
    """Whether the server itself answers within `PROBE_SECONDS`, and no proxy's page in its place."""
    answers: list[bool] = []
    # A thread, because the timeout of a socket bounds neither a slow resolver nor an answer that drips in.
    probe = threading.Thread(target=lambda: answers.append(_answers(url, needed_header)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return answers == [True]


def _answers(url: str, needed_header: str | None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as answer:  # noqa: S310 (https, from settings)
            return needed_header is None or needed_header in answer.headers
    except urllib.error.HTTPError as error:
        # A registry asks for a login first; that is an answer.
        return needed_header is not None and needed_header in error.headers
    except (OSError, http.client.HTTPException, ValueError):
        return False
