"""The catalog of images that the platform builds: their inputs, and the lock files with their versions.

The ML images depend on the variant and on the torch flavour (``cuda`` or ``cpu``). The service images ignore both.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from images.base.recipe import Suite
from images.dockerfile import declared_args
from images.lockfile import locked
from images.variants import DEFAULT_VARIANT, SUITE, Variant

Flavour = Literal["cuda", "cpu"]

FOLDER = Path(__file__).parent
ML = FOLDER / "ml"
NONE = "none"  # value of a label: the image has none
BUILD_BASE = "BUILD_BASE"  # build argument: the base of PLATFORM, for what is the same for every processor

# Major versions of Postgres → the release of Debian that has it.
POSTGRES: dict[int, Suite] = {17: "trixie", 18: "forky"}
CUDA_LOCK = "locks/cuda{cuda}/cuda.txt"  # shared by the Pythons of one CUDA
TOOLKIT_LOCK = (
    "locks/cuda{cuda}/toolkit.txt"  # only where the package index has the whole toolkit; not part of the environment
)
TORCH_LOCKS: dict[Flavour, tuple[str, ...]] = {
    "cuda": (CUDA_LOCK, *(f"locks/{{key}}/{name}.txt" for name in ("torch-cuda", "torch", "science-cuda", "science"))),
    "cpu": tuple(f"locks/{{key}}/{name}.txt" for name in ("torch-cpu", "torch", "science-cpu", "science")),
}
PYTHON_LOCK = "locks/python.txt"  # pip and uv for users; the same uv installs everything else


@dataclass(frozen=True, kw_only=True)
class SizeLimit:
    """What the layers of a stack's own Dockerfile may weigh, and the key that says so."""

    key: str
    size: int  # bytes


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image of the platform. Its tags and digests are computed in components/image.py."""

    name: str  # also the last part of the repository: cslr/<name>
    folder: Path  # build context; holds the Dockerfile and its allow-list, Dockerfile.dockerignore
    target: str | None = None  # stage of the Dockerfile; None: the last
    suite: Suite  # of Debian, of its base
    locks: tuple[str, ...] = ()  # context files that pin its packages
    torch: bool = False  # whether it holds torch and packages built for it: then TORCH_LOCKS count too
    parent: str | None = None  # the image of the family that it is built on
    cuda: int | None = None  # the major version of CUDA that its programs call; None: any
    layers: tuple[str, ...] = ()  # of images/layers.py, above the base's
    recipe: str = "Dockerfile"  # its Dockerfile in the context; the ignore file lies beside it
    sizes: str = "budgets.toml"  # its table of budgets in the context; not every image has one
    limit: SizeLimit | None = None  # in place of a table of budgets
    given: tuple[tuple[str, str], ...] = ()  # its own build arguments
    shown_as: str | None = None  # in its readable tag, in place of its name

    @property
    def dockerfile(self) -> Path:
        """The recipe, inside the context."""
        return self.folder / self.recipe

    @property
    def depends_on_variant(self) -> bool:
        """Whether there is one such image per (CUDA, Python) pair."""
        if self.parent is not None:
            return CATALOG[self.parent].depends_on_variant
        return not declared_args(self.dockerfile).isdisjoint(_names_of_variant_args())

    def lock_files(self, variant: Variant | None = None, flavour: Flavour = "cuda") -> tuple[Path, ...]:
        """Return the lock files that pin this image's packages."""
        names = (*(TORCH_LOCKS[flavour] if self.torch else ()), *self.locks)
        values = {"cuda": variant.cuda, "key": variant.key} if variant else {}
        return tuple(self.folder / name.format_map(values) for name in names)

    def toolkit_lock(self, variant: Variant) -> Path | None:
        """Return the lock file of its CUDA toolkit, if it installs one from the package index."""
        path = self.folder / TOOLKIT_LOCK.format(cuda=variant.cuda)
        installs = self.folder == ML and "toolkit" in self.layers
        return path if installs and variant.nvcc == "wheels" else None

    @property
    def begins_with_parent(self) -> bool:
        """Whether its Dockerfile begins with its parent, which must be there first. The family's holds all stages."""
        return self.parent is not None and self.folder != ML

    def fits(self, variant: Variant) -> bool:
        """Whether its programs work with the CUDA of a variant."""
        return self.cuda in (None, int(variant.cuda.partition(".")[0]))

    @property
    def is_partly_native(self) -> bool:
        """Whether a part of it is the same for every processor, and is built once, by programs of PLATFORM."""
        return BUILD_BASE in declared_args(self.dockerfile)

    def build_args(
        self,
        *,
        base: str,
        build_base: str | None = None,
        variant: Variant | None = None,
        flavour: Flavour = "cuda",
        pypi_index: str | None = None,
        pytorch_index: str | None = None,
        pyg_index: str | None = None,
        nvidia_apt: str | None = None,
        npm_registry: str | None = None,
    ) -> dict[str, str]:
        """Return all build arguments that are known; images/dockerfile.py keeps those that the target declares.

        ``base`` and ``build_base`` are image references: what it stands on, and what it is partly built in.
        """
        values = {
            "BASE": base,
            BUILD_BASE: build_base or base,
            "PYPI_INDEX": pypi_index,
            "PYTORCH_INDEX": pytorch_index,
            "NPM_REGISTRY": npm_registry,
            **dict(self.given),
        }
        if variant:
            values |= self._args_of_variant(variant, flavour, pyg_index, nvidia_apt)
        return {name: value for name, value in values.items() if value is not None}

    def versions(self, variant: Variant | None = None, flavour: Flavour = "cuda") -> dict[str, str]:
        """Return package → version as locked. Debian's packages are not: its release pins them."""
        return locked(*self.lock_files(variant, flavour))

    def _args_of_variant(
        self, variant: Variant, flavour: Flavour, pyg_index: str | None, nvidia_apt: str | None
    ) -> dict[str, str | None]:
        """The build arguments whose values come from the table of variants."""
        cuda = flavour == "cuda"
        return {
            "CUDA": variant.cuda,
            "PYTHON": variant.python,
            "TORCH": flavour if self.torch else NONE,
            "BELOW_RAY": "toolkit" if "toolkit" in self.layers else "science",
            "TORCH_VERSION": variant.torch if cuda else f"{variant.torch}+cpu",
            "TORCH_CUDA": variant.torch_cuda if cuda else "",
            "DRIVER": str(variant.driver) if cuda else "",
            "PYG_LIB": _pyg_lib(variant, flavour) if pyg_index else NONE,
            "PYG_INDEX": pyg_index if variant.pyg_lib else None,
            "NVCC": self._nvcc(variant, nvidia_apt),
            "NVIDIA_APT": nvidia_apt if variant.nvcc == "nvidia" else None,
            "LOCK": self._lock_digest(variant, flavour),
        }

    def _nvcc(self, variant: Variant, nvidia_apt: str | None) -> str:
        """The version of its CUDA compiler, as far as it is known before the build."""
        lock = self.toolkit_lock(variant)
        if lock:
            return locked(lock)["nvidia-cuda-nvcc"]
        return variant.cuda.rpartition(".")[0] if nvidia_apt and "toolkit" in self.layers else NONE

    def _lock_digest(self, variant: Variant, flavour: Flavour) -> str:
        digest = hashlib.sha256()
        for path in (*self.lock_files(variant, flavour), self.toolkit_lock(variant)):
            digest.update(path.read_bytes() if path else b"")
        return digest.hexdigest()[:12]


def _pyg_lib(variant: Variant, flavour: Flavour) -> str:
    """The version of PyG's wheel for this torch."""
    if variant.pyg_lib is None:
        return NONE
    build = f"cu{variant.torch_cuda.replace('.', '')}" if flavour == "cuda" else "cpu"
    return f"{variant.pyg_lib}+pt{''.join(variant.torch.split('.')[:2])}{build}"


def _ml(name: str, parent: str | None, *layers: str) -> Image:
    """An image with torch. Its layers have a lock file per variant."""
    below: tuple[str, ...] = ("cuda", "python", "compiler", "torch", "pyg", "science")
    paths = tuple(f"locks/{{key}}/{layer}.txt" for layer in ("pyg", *layers) if layer not in ("tools", "toolkit"))
    return Image(
        name=name,
        folder=ML,
        target=name,
        suite=SUITE,
        locks=(PYTHON_LOCK, *paths),
        torch=True,
        parent=parent,
        layers=(*below, *layers),
    )


def _service(name: str, *locks: str) -> Image:
    return Image(name=name, folder=FOLDER / name, suite="trixie", locks=locks)


def postgres_image(major: int) -> str:
    """The name of the image with this major version of Postgres."""
    return "postgres" if major == min(POSTGRES) else f"postgres-{major}"


def _postgres(major: int, suite: Suite) -> Image:
    name = postgres_image(major)
    return replace(_service("postgres"), name=name, suite=suite, given=(("POSTGRES", str(major)),))


def _transcription(
    name: str, variant: str, *, suite: Suite, parent: str | None = None, cuda: int | None = None
) -> Image:
    return Image(
        name=name,
        folder=FOLDER / "transcription-backend",
        suite=suite,
        locks=("requirements.txt", "model.txt"),
        parent=parent,
        cuda=cuda,
        given=(("TORCH_VARIANT", variant),),
        shown_as="transcription-backend",
    )


CATALOG: dict[str, Image] = {
    image.name: image
    for image in (
        Image(
            name="ray-lean",
            folder=ML,
            target="ray-lean",
            suite=SUITE,
            locks=(PYTHON_LOCK, "locks/{key}/lean.txt"),
            layers=("python", "ray"),
        ),
        _ml("runtime", None),
        _ml("ray-runtime", "runtime", "ray", "mlflow"),
        _ml("marimo-runtime", "ray-runtime", "ray", "mlflow", "marimo"),
        _ml("devel", "runtime", "tools", "toolkit"),
        _ml("ray-devel", "devel", "tools", "toolkit", "ray", "mlflow"),
        _ml("marimo-devel", "ray-devel", "tools", "toolkit", "ray", "mlflow", "marimo"),
        _service("firewall"),
        _service("redis"),
        *(_postgres(major, suite) for major, suite in POSTGRES.items()),
        _service("mlflow", "requirements.txt"),
        _service("health", "requirements.txt"),
        _service("queue", "requirements.txt"),
        _service("transcription-frontend"),
        _service("nginx"),
        Image(
            name="system-info-exporter",
            folder=FOLDER.parent,
            recipe="exporter.Dockerfile",
            sizes="images/exporter/budgets.toml",
            suite="trixie",
            locks=("images/exporter/requirements.txt",),
        ),
        _service("metrics"),
        Image(name="devel-ssh", folder=FOLDER / "devel-ssh", suite=SUITE, parent="marimo-devel"),
        _transcription("transcription-backend", "cpu", suite="trixie"),
        # On the family's image, of which it needs the CUDA libraries: CTranslate2 has no build for CUDA 13.
        _transcription("transcription-backend-cuda", "cuda", suite=SUITE, parent="runtime", cuda=12),
    )
}


@cache
def _names_of_variant_args() -> frozenset[str]:
    return frozenset(CATALOG["runtime"]._args_of_variant(DEFAULT_VARIANT, "cuda", None, None))


# Images with a stack's own packages → the image below. Nodes without torch run a small image; all other nodes and
# Marimo share one; whoever logs in finds the same with compilers and debuggers.
PACKAGES = {"packages": "marimo-runtime", "packages-lean": "ray-lean", "packages-devel": "marimo-devel"}
NO_LOCK = "images/packages/none.txt"  # for a stack that only adds Debian packages


# Images with another build of Ray → the image below.
RAY_WHEEL = {"ray-wheel": "marimo-runtime", "ray-wheel-lean": "ray-lean", "ray-wheel-devel": "marimo-devel"}
NO_WHEEL = "images/ray_wheel/none.txt"  # for a wheel that the build downloads


def ray_wheel_image(name: str, *, stack: str, version: str, wheel: str, sha256: str) -> Image:
    """One of RAY_WHEEL for a stack. ``wheel`` is an address, or a file of the project."""
    remote = "://" in wheel
    return Image(
        name=name,
        folder=FOLDER.parent,
        recipe="ray-wheel.Dockerfile",
        suite=CATALOG[RAY_WHEEL[name]].suite,
        parent=RAY_WHEEL[name],
        layers=CATALOG[RAY_WHEEL[name]].layers,
        given=(
            ("WHEEL_FILE", NO_WHEEL if remote else wheel),
            ("WHEEL_URL", wheel if remote else ""),
            ("WHEEL_SHA256", sha256),
            ("RAY_VERSION", version),
        ),
        shown_as=f"{name}-{stack}",
    )


def packages_image(
    name: str, *, stack: str, lock_file: str | None, lock: str, packages: Mapping[str, str], apt: Sequence[str]
) -> Image:
    """One of PACKAGES for a stack.

    ``lock`` is the digest of ``lock_file``, a file of the project (None: no lock). ``packages`` are the requested ones,
    with their versions.
    """
    return Image(
        name=name,
        folder=FOLDER.parent,
        recipe="packages.Dockerfile",
        sizes="images/packages/budgets.toml",
        suite=CATALOG[PACKAGES[name]].suite,
        parent=PACKAGES[name],
        layers=(*CATALOG[PACKAGES[name]].layers, "packages"),
        given=(
            ("LOCK_FILE", lock_file or NO_LOCK),
            ("APT", " ".join(apt)),
            ("WITHOUT_TORCH", "" if CATALOG[PACKAGES[name]].torch else "yes"),
            ("PACKAGES", " ".join(f"{package}=={version}" for package, version in sorted(packages.items()))),
            ("PACKAGES_LOCK", lock),
        ),
        shown_as=f"{name}-{stack}",
    )


# Images of a stack's own Dockerfiles, by the service whose key names the Dockerfile.
OWN = {"ray-cpu": "own-ray-cpu", "ray-gpu": "own-ray-gpu", "marimo": "own-marimo"}


def own_image(service: str, *, stack: str, parent: str, dockerfile: str, target: str | None, limit: SizeLimit) -> Image:
    """One of OWN for a stack. ``dockerfile`` is a file of the project, and ``parent`` of the family; between the two
    can be images of PACKAGES and RAY_WHEEL.
    """
    path = FOLDER.parent / dockerfile
    return Image(
        name=OWN[service],
        folder=path.parent,
        recipe=path.name,
        target=target,
        suite=CATALOG[parent].suite,
        parent=parent,
        layers=CATALOG[parent].layers,
        limit=limit,
        shown_as=f"{OWN[service]}-{stack}",
    )
