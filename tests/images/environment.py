"""Makes a plain environment that holds what an image would hold, from the same lock files and pruned by the same list.

    python -m tests.images.environment ray-runtime cuda13.1.1-py3.14 FOLDER
    python -m pytest tests/images --environment FOLDER --image-target ray-runtime --image-cuda 13.1.1

So a machine with a GPU can run the checks without Docker. Needs uv, binutils and the variant's Python. Where packages
come from is uv's own setting. Compilers and nvcc are the machine's own.
"""

import argparse
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from images.catalog import CATALOG, ML, Image
from images.family import FAMILY
from images.ml import trim
from images.variants import VARIANTS, Variant

VENV = "opt/venv"  # below the folder, as in the images, since the list of what is pruned names paths so
CUDA = "opt/cuda"
PROGRAMS = {"uv": "pip install uv", "strip": "apt-get install binutils"}


def main(arguments: list[str] | None = None) -> int:
    """Make the environment; return the exit status."""
    variants = {variant.key: variant for variant in VARIANTS}
    description, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m tests.images.environment",
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", choices=FAMILY, help="the image whose packages it gets")
    parser.add_argument("variant", choices=variants, help="its CUDA and Python versions")
    parser.add_argument("folder", type=Path, help="where it is made; must not exist, or be empty")
    parser.add_argument("--pyg-index", metavar="URL", help="page with wheels of pyg-lib; without it there is none")
    chosen = parser.parse_args(arguments)
    for program, remedy in PROGRAMS.items():
        if shutil.which(program) is None:
            print(f"{program} is missing, which makes the environment. Install it with: {remedy}", file=sys.stderr)
            return 1
    if chosen.folder.exists() and any(chosen.folder.iterdir()):
        print(f"{chosen.folder} is not empty. Name a new folder, or remove this one.", file=sys.stderr)
        return 1
    try:
        make(CATALOG[chosen.target], variants[chosen.variant], chosen.folder.absolute(), chosen.pyg_index)
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd[:3]))} failed with status {error.returncode}.", file=sys.stderr)
        return 1
    return 0


def make(image: Image, variant: Variant, folder: Path, pyg_index: str | None) -> None:
    """Install the image's layers one by one, each pruned once it is there. Raises CalledProcessError."""
    venv = folder / VENV
    plan = trim.read_plan(ML / "prune.toml")
    run("uv", "venv", "--python", variant.python, venv)
    for layer in image.layers:
        locks = [path for path in image.lock_files(variant) if path.stem.partition("-")[0] == layer]
        if locks:
            print(f"installing {layer}", flush=True)
            install(*(f"--requirement={path}" for path in locks), place=target_of(layer, folder), hashed=True)
        if layer == "cuda":
            link(folder / CUDA, next(venv.glob("lib/python3*/site-packages")))
        if layer == "pyg" and pyg_index and variant.pyg_lib:
            install("--no-index", f"--find-links={pyg_index}", f"pyg-lib=={variant.pyg_lib}", place=f"--python={venv}")
        prune(folder, [entry for entry in plan if entry.layer == layer])


def target_of(layer: str, folder: Path) -> str:
    """The option of uv that says where a layer goes."""
    return f"--target={folder / CUDA}" if layer == "cuda" else f"--python={folder / VENV}"


def install(*what: str, place: str, hashed: bool = False) -> None:
    """Install with uv, exactly what is named. Copied, since stripping a file must not change uv's cache."""
    options = ["--quiet", "--no-deps", "--link-mode=copy", *(["--require-hashes"] if hashed else [])]
    run("uv", "pip", "install", *options, place, *what)


def link(libraries: Path, packages: Path) -> None:
    """Put the CUDA libraries where torch looks for them."""
    for path in libraries.iterdir():
        (packages / path.name).symlink_to(path)


def prune(folder: Path, entries: list[trim.Entry]) -> None:
    """Remove and strip below the folder what the build of the image does below its root."""
    for entry in entries:
        found = [path for pattern in entry.paths for path in folder.glob(pattern)]
        if entry.kind != "uncompiled":
            strip = partial(trim.shrink, strip=Path("strip"), options=entry.options)
            freed = sum(map(trim.remove if entry.kind == "prune" else strip, found))
            print(f"  {entry.kind}: {freed / 1e6:.1f} MB: {entry.why}", flush=True)


def run(*command: str | Path) -> None:
    """Run a program to its end."""
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
