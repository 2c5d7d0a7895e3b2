"""The (CUDA, Python) pairs that images are built for, and the pins of each.

The facts are in versions.toml. ``resolve`` turns a pair into pins, or explains why that is impossible and names the
nearest possible pair.
"""

import re
from dataclasses import dataclass
from typing import Literal

from images.base.recipe import PLATFORM, PLATFORMS, Platform, Suite
from images.versions import Torch, versions

Axis = Literal["cuda", "python"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A supported pair and its pins."""

    cuda: str  # toolkit version, as users name it: "13.1.1"
    python: str  # minor version: "3.14"
    torch: str
    torch_cuda: str  # the value of torch.version.cuda
    driver: int  # NVIDIA driver branch that the toolkit came with
    oldest_driver: int  # the lowest that it runs on, without what is newer in the driver
    pyg_lib: str | None  # version of PyG's wheel for this torch; None: PyG builds none
    nvcc: Literal["wheels", "nvidia"]  # the source of its nvcc: the package index, or only NVIDIA's apt repository
    platforms: tuple[Platform, ...] = (PLATFORM,)  # with a CUDA build of torch

    @property
    def key(self) -> str:
        """Tag part and lock folder name, for example ``cuda13.1.1-py3.14``."""
        return f"cuda{self.cuda}-py{self.python}"

    @property
    def torchaudio(self) -> str:
        """The release of torchaudio for its torch. torchvision pins its torch itself."""
        return min(self.torch, LAST_TORCHAUDIO, key=_numbers)


_VERSIONS = versions()
TORCH = _VERSIONS.torch.releases
LAST_TORCHAUDIO = _VERSIONS.torch.last_torchaudio
# (torch, its CUDA) → pyg-lib.
PYG_LIB = {(torch.version, torch.cuda): torch.pyg_lib for torch in TORCH if torch.pyg_lib}
TOOLKITS = tuple(toolkit for cuda in _VERSIONS.cuda.values() for toolkit in cuda.toolkits)
SUITE: Suite = "forky"  # of Debian, under the ML images
BASE_PYTHONS = _VERSIONS.debian[SUITE].pythons
PAIRS = tuple((pair.cuda, pair.python) for pair in _VERSIONS.pairs.supported)
DEFAULT_PAIR = (_VERSIONS.pairs.default.cuda, _VERSIONS.pairs.default.python)


class ImpossiblePair(Exception):  # noqa: N818 (a refusal is its name)
    """No images are built for this pair. The message is the reason."""

    def __init__(self, axis: Axis, reason: str, nearest: tuple[Variant, ...], *, lockable: bool = False) -> None:
        super().__init__(reason)
        self.axis: Axis = axis  # the one to change
        self.nearest = nearest  # all possible pairs, nearest first
        self.lockable = lockable  # whether only the lock files are missing

    @property
    def advice(self) -> str:
        """The remedy."""
        pairs = "; ".join(f"CUDA {variant.cuda} with Python {variant.python}" for variant in self.nearest)
        add = "\nOr add the pair to images/versions.toml, and run: make lock" if self.lockable else ""
        return f"Possible pairs, the nearest first: {pairs}.{add}"


def resolve(cuda: str, python: str) -> Variant:
    """Returns the pins of a pair.

    Raises:
        ImpossiblePair: with the reason, and the nearest pair that is possible.
    """
    nearest = tuple(sorted(VARIANTS, key=lambda variant: _distance(variant, cuda, python)))
    if refused := _refusal(cuda, python):
        raise ImpossiblePair(*refused, nearest)
    if (cuda, python) not in PAIRS:
        found = _pins(cuda, python)
        axis: Axis = "python" if cuda == nearest[0].cuda else "cuda"
        made = f"torch {found.torch}, built for CUDA {found.torch_cuda}"
        reason = f"CUDA {cuda} with Python {python} is possible ({made}), but its packages are not locked"
        raise ImpossiblePair(axis, reason, nearest, lockable=True)
    return nearest[0]


def _refusal(cuda: str, python: str) -> tuple[Axis, str] | None:
    """Which half of the pair is impossible, and why; None if torch, toolkit and base exist for it."""
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", cuda, re.ASCII):
        return "cuda", f"{cuda[:20]!r} is not a version of a CUDA toolkit, which has three numbers, such as 13.1.1"
    if not re.fullmatch(r"3\.\d{1,3}", python, re.ASCII):
        return "python", f"{python[:20]!r} is not a version of Python, such as 3.14"
    builds = _builds(cuda)
    if not builds:
        known = ", ".join(dict.fromkeys(torch.cuda for torch in TORCH))
        return "cuda", f"no torch that runs on CUDA {cuda} is on the package index, only for CUDA {known}"
    if cuda not in TOOLKITS:
        like = [toolkit for toolkit in TOOLKITS if _numbers(toolkit)[0] == _numbers(cuda)[0]]
        return "cuda", f"there is no CUDA toolkit {cuda}; there are {', '.join(like)}"
    pythons = [torch for torch in builds if _has(torch, python)]
    if not pythons:
        first = min((torch.pythons[0] for torch in builds), key=_numbers)
        last = max((torch.pythons[1] for torch in builds), key=_numbers)
        return "python", f"torch for CUDA {builds[-1].cuda} is built for Python {first} to {last}, not for {python}"
    if python not in BASE_PYTHONS:
        return (
            "python",
            f"Debian {SUITE}, which the images stand on, has Python {' and '.join(BASE_PYTHONS)}, not {python}",
        )
    return None


def _pins(cuda: str, python: str) -> Variant:
    """The pins of a possible pair: the newest torch with a PyG wheel, or else the newest."""
    usable = [torch for torch in _builds(cuda) if _has(torch, python)]
    torch = max(usable, key=lambda torch: (torch.pyg_lib is not None, _numbers(torch.version)))
    facts = _VERSIONS.cuda[_numbers(cuda)[0]]
    return Variant(
        cuda=cuda,
        python=python,
        torch=torch.version,
        torch_cuda=torch.cuda,
        driver=facts.driver,
        oldest_driver=facts.oldest_driver,
        pyg_lib=torch.pyg_lib,
        nvcc=facts.nvcc,
        platforms=PLATFORMS if torch.arm64 else (PLATFORM,),
    )


def _builds(cuda: str) -> list[Torch]:
    """The releases that work with a toolkit: same major version of CUDA, no newer minor version."""
    wanted = _numbers(cuda)[:2]
    return [t for t in TORCH if _numbers(t.cuda)[0] == wanted[0] and _numbers(t.cuda) <= wanted]


def _has(torch: Torch, python: str) -> bool:
    first, last = torch.pythons
    return _numbers(first) <= _numbers(python) <= _numbers(last)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _distance(variant: Variant, cuda: str, python: str) -> tuple[int, bool]:
    """Keeps as much of the request as possible; of two such pairs, prefers the one with the same major CUDA."""
    differences = (variant.cuda != cuda) + (variant.python != python)
    return differences, variant.cuda.split(".")[0] != cuda.split(".")[0]


VARIANTS = tuple(_pins(cuda, python) for cuda, python in PAIRS)
DEFAULT_VARIANT = VARIANTS[PAIRS.index(DEFAULT_PAIR)]
