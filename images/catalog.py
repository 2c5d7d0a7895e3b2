"""The images that the platform builds: what each is built from, and which lock files hold its versions. Data only.

The ML images differ by variant and by torch flavour (``cuda`` or ``cpu``). The service images ignore both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.variants import Variant
from images.base.recipe import Suite
from images.versions import locked

Flavour = Literal["cuda", "cpu"]

FOLDER = Path(__file__).parent
ML = FOLDER / "ml"
ML_ARGS = ("BASE", "CUDA", "PYTHON", "TORCH", "TORCH_VERSION", "TORCH_CUDA", "DRIVER", "PYPI_INDEX", "PYTORCH_INDEX")
ML_TOOLS = ("install.sh", "locks/uv.txt")

CUDA_LOCK = "locks/cuda{cuda}/cuda.txt"  # shared by the Pythons of one CUDA
TORCH_LOCKS: dict[Flavour, tuple[str, ...]] = {
    "cuda": (CUDA_LOCK, "locks/{key}/torch-cuda.txt", "locks/{key}/torch.txt"),
    "cpu": ("locks/{key}/torch-cpu.txt", "locks/{key}/torch.txt"),
}


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image of the platform. Its tags and digests are the business of components/image.py."""

    name: str  # also the last part of the repository: cslr/<name>
    folder: Path  # build context; holds Dockerfile and the allow-list Dockerfile.dockerignore
    target: str | None = None  # stage of the Dockerfile; None: the last
    suite: Suite  # of the base that it is built on
    args: tuple[str, ...]  # build arguments that its Dockerfile declares
    tools: tuple[str, ...] = ()  # context files besides locks
    locks: tuple[str, ...] = ()  # context files that pin its packages
    torch: bool = False  # whether it holds torch, so that TORCH_LOCKS count as well
    packaged: tuple[tuple[str, str], ...] = ()  # from Debian, pinned by its release: (package, version's beginning)

    @property
    def dockerfile(self) -> Path:
        """The recipe, inside the context."""
        return self.folder / "Dockerfile"

    @property
    def depends_on_variant(self) -> bool:
        """Whether there is one such image per (CUDA, Python) pair."""
        return "PYTHON" in self.args

    def lock_files(self, variant: Variant | None = None, flavour: Flavour = "cuda") -> tuple[Path, ...]:
        """Return the lock files that pin this image's packages."""
        names = (*(TORCH_LOCKS[flavour] if self.torch else ()), *self.locks)
        values = {"cuda": variant.cuda, "key": variant.key} if variant else {}
        return tuple(self.folder / name.format_map(values) for name in names)

    def context_files(self, variant: Variant | None = None, flavour: Flavour = "cuda") -> tuple[Path, ...]:
        """Return the files that decide what this image holds, the Dockerfile first; nothing else need be sent."""
        tools = (self.folder / name for name in self.tools)
        return (self.dockerfile, *tools, *self.lock_files(variant, flavour))

    def build_args(
        self,
        *,
        base: str,
        variant: Variant | None = None,
        flavour: Flavour = "cuda",
        pypi_index: str | None = None,
        pytorch_index: str | None = None,
    ) -> dict[str, str]:
        """Return the build arguments, only those that the Dockerfile declares. ``base`` is a reference of an image."""
        values = {"BASE": base, "PYPI_INDEX": pypi_index, "PYTORCH_INDEX": pytorch_index}
        if variant:
            cuda = flavour == "cuda"
            values |= {
                "CUDA": variant.cuda,
                "PYTHON": variant.python,
                "TORCH": flavour if self.torch else "none",
                "TORCH_VERSION": variant.torch if cuda else f"{variant.torch}+cpu",
                "TORCH_CUDA": variant.torch_cuda if cuda else "",
                "DRIVER": str(variant.driver) if cuda else "",
            }
        return {name: value for name, value in values.items() if value is not None and name in self.args}

    def versions(self, variant: Variant | None = None, flavour: Flavour = "cuda") -> dict[str, str]:
        """Return package → version as locked. Packages of Debian are in ``packaged``, with the version's beginning."""
        return locked(*self.lock_files(variant, flavour))


def _ml(name: str, *locks: str, torch: bool = True) -> Image:
    paths = tuple(f"locks/{{key}}/{lock}.txt" for lock in locks)
    return Image(
        name=name, folder=ML, target=name, suite="forky", args=ML_ARGS, tools=ML_TOOLS, locks=paths, torch=torch
    )


def _service(name: str, *args: str, locks: tuple[str, ...] = (), packaged: tuple[tuple[str, str], ...] = ()) -> Image:
    return Image(name=name, folder=FOLDER / name, suite="trixie", args=("BASE", *args), locks=locks, packaged=packaged)


CATALOG: dict[str, Image] = {
    image.name: image
    for image in (
        _ml("ray-lean", "lean", torch=False),
        _ml("runtime", "pyg"),
        _ml("ray-runtime", "pyg", "ray", "mlflow"),
        _ml("marimo-runtime", "pyg", "ray", "mlflow", "marimo"),
        _service("redis", packaged=(("redis-server", "8.0."),)),
        _service("postgres", packaged=(("postgresql-17", "17."),)),
        _service("mlflow", "PYPI_INDEX", locks=("requirements.txt",)),
        _service("health", "PYPI_INDEX", locks=("requirements.txt",)),
    )
}
