"""Installs one layer of the ML images and leaves nothing of the installing behind: ``install.py LAYER``.

Runs inside the Dockerfile's RUN, by the Python of the mounted installer (``/tmp/installer``). What is installed is in
the mounted lock files (``/tmp/locks``) and packages (``/tmp/packages``), what goes again in ``prune.toml``. Build
arguments arrive as environment variables. Everything here happens in the step that makes the layer, because what a
later step removes would stay in the image.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from images.ml import trim

INSTALLER = Path("/tmp/installer")  # noqa: S108 (a mount of the build)
LOCKS = Path("/tmp/locks")  # noqa: S108
PACKAGES = Path("/tmp/packages")  # noqa: S108
CACHE = Path("/tmp/cache")  # noqa: S108
CUDA = Path("/opt/cuda")
VENV = Path("/opt/venv")
TOOLKIT = Path("/opt/toolkit")
CUDA_HOME = Path("/usr/local/cuda")
STUB = Path("/usr/local/bin/nvcc")
WORKSPACE = Path("/workspace")
SCRATCH = Path("/scratch")
OWNER = 1000
NVIDIA_KEY = "3bf863cc.pub"
NVIDIA_FINGERPRINT = "EB693B3035CD5710E231E123A4B469963BF863CC"
INSTALLERS = frozenset({"LD_LIBRARY_PATH", "PYTHONPATH"})  # what lets its Python run outside its own root
COMPILERS = ("gcc", "g++", "cpp", "gcc-ar", "gcc-nm", "gcc-ranlib")
PLAIN = {"gcc": "cc", "g++": "c++"}


def main(arguments: list[str] | None = None) -> int:
    """Install the layer; return the exit status."""
    parser = argparse.ArgumentParser(prog="install.py", description="Install one layer of the ML images.")
    parser.add_argument("layer", choices=STEPS, help="which layer")
    layer = parser.parse_args(arguments).layer
    started = time.time() - 0.1  # the clock of files is coarser than this one
    plan = trim.read_plan(Path(__file__).with_name("prune.toml"))
    try:
        STEPS[layer](os.environ)
        trim.trim(layer, plan, strip=INSTALLER / "usr/bin/strip")
        trim.finish(started, plan, readelf=INSTALLER / "usr/bin/readelf", bytecode=CACHE / "bytecode")
    except trim.TrimError as error:
        print(f"{layer}: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{layer}: {Path(error.cmd[0]).name} failed with status {error.returncode}", file=sys.stderr)
        return 1
    return 0


# What each layer is made of


def install_cuda(environment: Mapping[str, str]) -> None:
    """The CUDA libraries. Below Python and not tied to one: these wheels hold no code of CPython's."""
    install_wheels(environment, target=CUDA)


def install_python(environment: Mapping[str, str]) -> None:
    """Debian's Python, an environment with pip and uv, and the user's folders beside its home."""
    install_packages()
    run(uv(), "venv", "--no-config", f"--cache-dir={CACHE}", f"--python=/usr/bin/python{environment['PYTHON']}", VENV)
    install_wheels(environment)
    for folder in (WORKSPACE, SCRATCH):
        make_owned(folder)


def install_torch(environment: Mapping[str, str]) -> None:
    """Torch and what it needs. It finds its CUDA libraries beside itself (RPATH), and Python their versions."""
    site = site_packages()
    for path in sorted(CUDA.glob("*")):
        (site / path.name).symlink_to(path)
    install_wheels(environment)


def install_pyg(environment: Mapping[str, str]) -> None:
    """PyG, and its compiled kernels where their own index can be reached."""
    install_wheels(environment)
    version, index = environment.get("PYG_LIB", "none"), environment.get("PYG_INDEX")
    if index:
        # No hash is known: the wheels are on PyG's own index only, one folder for each build of torch.
        build = re.sub(r"^.*\+pt\d+", "", version)
        folder = f"{index.rstrip('/')}/torch-{environment['TORCH_VERSION'].partition('+')[0]}+{build}.html"
        uv_install("--no-index", f"--find-links={folder}", f"pyg-lib=={version}")


def install_science(environment: Mapping[str, str]) -> None:
    """Libraries for data, images, video and sound, and git."""
    install_packages()
    install_wheels(environment)


def install_marimo(environment: Mapping[str, str]) -> None:
    """Marimo and the folder of its notebooks."""
    install_wheels(environment)
    make_owned(WORKSPACE / "notebooks")


def install_compiler(_: Mapping[str, str]) -> None:
    """The compiler that torch.compile runs, one that nvcc supports, under its plain names."""
    install_packages()
    triplet = f"{platform.machine()}-linux-gnu"
    for name in COMPILERS:
        versioned = next(Path("/usr/bin").glob(f"{name}-[0-9]*"))
        aliases = (name, f"{triplet}-{name}", *([PLAIN[name]] if name in PLAIN else []))
        for alias in aliases:
            Path("/usr/local/bin", alias).symlink_to(versioned)


def install_tools(_: Mapping[str, str]) -> None:
    """Build and debugging tools."""
    install_packages()


def install_toolkit(environment: Mapping[str, str]) -> None:
    """The CUDA toolkit: of wheels where these hold its compiler, else of NVIDIA's packages, else a clear message."""
    lock = LOCKS / "toolkit.txt"  # the folder is mounted as a whole, since not every variant has the file
    if lock.exists():
        install_wheels(environment, lock, target=TOOLKIT)
        CUDA_HOME.symlink_to(next(TOOLKIT.glob("nvidia/cu*")))
        for name in ("bin/*", "nvvm/bin/*"):
            for path in CUDA_HOME.glob(name):
                path.chmod(0o755)
    elif environment.get("NVIDIA_APT"):
        install_nvidia_packages(environment)
    else:
        write_stub(environment["CUDA"])
        return
    complete_toolkit()
    Path("/etc/ld.so.conf.d/cuda.conf").write_text(f"{CUDA_HOME}/lib64\n", encoding="utf-8")
    run("ldconfig")


STEPS: dict[str, Callable[[Mapping[str, str]], None]] = {
    "cuda": install_cuda,
    "python": install_python,
    "compiler": install_compiler,
    "torch": install_torch,
    "pyg": install_pyg,
    "science": install_science,
    "tools": install_tools,
    "toolkit": install_toolkit,
    "ray": lambda environment: install_wheels(environment),
    "mlflow": lambda environment: install_wheels(environment),
    "marimo": install_marimo,
}


# The means


def run(*command: str | Path, **environment: str) -> None:
    """Run a program of the image's, which does without the installer's libraries. Raises CalledProcessError."""
    inherited = {name: value for name, value in os.environ.items() if name not in INSTALLERS}
    subprocess.run([str(word) for word in command], check=True, env=inherited | environment)


def uv() -> Path:
    """The mounted uv."""
    return INSTALLER / "opt/uv/bin/uv"


def site_packages() -> Path:
    """Where the environment's packages are."""
    return next(VENV.glob("lib/python3*/site-packages"))


def install_wheels(environment: Mapping[str, str], *locks: Path, target: Path | None = None) -> None:
    """Install lock files, by default all that are mounted; builds without CUDA come from PyTorch's own index.

    Their lock files have hashes if they were made where that index could be reached.
    """
    index = environment.get("PYPI_INDEX")
    options = [f"--default-index={index}"] if index else []
    locks = locks or tuple(sorted(LOCKS.glob("*.txt")))
    builds = [path for path in locks if path.stem.endswith("-cpu")]
    for path in builds:
        pytorch = environment.get("PYTORCH_INDEX")
        index_options = [*options, f"--index={pytorch}" if pytorch else "--torch-backend=cpu"]
        if "--hash" in path.read_text(encoding="utf-8"):
            index_options.append("--require-hashes")
        uv_install(*index_options, f"--requirement={path}")
    others = [f"--requirement={path}" for path in locks if path not in builds]
    uv_install(*options, "--require-hashes", *others, target=target)


def uv_install(*words: str, target: Path | None = None) -> None:
    """Install into the environment, or into a folder. Copied, because the cache is on another file system."""
    place = (f"--target={target}", f"--python={sys.executable}") if target else (f"--python={VENV}",)
    command = [uv(), "pip", "install", "--no-config", "--no-deps", "--no-progress", "--link-mode=copy", *place, *words]
    # Only with a target is it the installer's Python that runs.
    libraries = {"LD_LIBRARY_PATH": os.environ["LD_LIBRARY_PATH"]} if target else {}
    run(*command, f"--cache-dir={CACHE}", **libraries)


def install_packages() -> None:
    """Install the mounted Debian packages."""
    packages = sorted(PACKAGES.glob("*.deb"))
    run("dpkg", "--install", "--skip-same-version", *packages, DEBIAN_FRONTEND="noninteractive")


def install_nvidia_packages(environment: Mapping[str, str]) -> None:
    """Install nvcc and the runtime's headers from NVIDIA's repository.

    Its key lies beside its packages, so apt accepts of that file only the key with the known fingerprint.
    """
    repository = environment["NVIDIA_APT"].rstrip("/")
    release = "-".join(environment["CUDA"].split(".")[:2])
    source = Path("/etc/apt/sources.list.d/nvidia.sources")
    key = Path("/etc/apt/keyrings/nvidia.asc")
    with urllib.request.urlopen(f"{repository}/{NVIDIA_KEY}", timeout=60) as answer:  # noqa: S310 (from settings)
        key.write_bytes(answer.read())
    signed = f"Signed-By: {key} {NVIDIA_FINGERPRINT}"
    source.write_text(f"Types: deb\nURIs: {repository}/\nSuites: /\n{signed}\n", encoding="utf-8")
    run("apt-get", "update", "-o", f"Dir::Etc::SourceList={source}", "-o", "Dir::Etc::SourceParts=/dev/null")
    run(
        *("apt-get", "install", "-y", "--no-install-recommends", f"cuda-nvcc-{release}", f"cuda-cudart-dev-{release}"),
        DEBIAN_FRONTEND="noninteractive",
    )
    source.unlink()
    key.unlink()
    if not CUDA_HOME.exists():
        CUDA_HOME.symlink_to(f"/usr/local/cuda-{'.'.join(environment['CUDA'].split('.')[:2])}")


def write_stub(cuda: str) -> None:
    """Put a clear message where users look for nvcc."""
    message = (
        f"nvcc: this image has none. No wheel holds the compiler of CUDA {cuda}, and NVIDIA's package repository could "
        "not be reached when the image was built. Set images.mirrors.nvidia to a mirror of it and build again, or use "
        "the CUDA 13 variant."
    )
    STUB.write_text(f'#!/bin/sh\necho "{message}" >&2\nexit 1\n', encoding="utf-8")
    STUB.chmod(0o755)


def complete_toolkit() -> None:
    """Make the toolkit look as builds expect it, with torch's own CUDA libraries and headers in it."""
    libraries = CUDA_HOME / "lib64"
    link(Path("lib"), libraries)
    for kind, folder in (("include", CUDA_HOME / "include"), ("lib", libraries)):
        for path in sorted(CUDA.glob(f"nvidia/*/{kind}/*")):
            link(path, folder / path.name)
    for path in sorted(libraries.glob("lib*.so.*")):
        link(Path(path.name), path.with_name(f"{path.name.partition('.so.')[0]}.so"))
    make_headers_system(CUDA_HOME / "bin/nvcc.profile")


def make_headers_system(profile: Path) -> None:
    """Have nvcc take CUDA's headers for the system's, where a declaration that differs from glibc's is no error.

    They declare rsqrt without the exception specification that glibc's declaration has since 2.42, and before CUDA 13
    cospi and sinpi as well, which glibc has had since 2.41. torch's extension builder does the same by an option.
    """
    text = profile.read_text(encoding="utf-8")
    # Beside the plain option, which CMake reads, and which gcc ignores where a folder is named by both.
    folders = re.findall(r'"-I([^"]+)"', text)
    text += "".join(f'SYSTEM_INCLUDES += "-isystem" "{folder}" $(_SPACE_)\n' for folder in folders)
    profile.write_text(text, encoding="utf-8")


def link(target: Path, path: Path) -> None:
    """Make a link unless there is something already."""
    if not path.exists() and not path.is_symlink():
        path.symlink_to(target)


def make_owned(folder: Path) -> None:
    """Make a folder of the platform's user."""
    folder.mkdir()
    os.chown(folder, OWNER, OWNER)


if __name__ == "__main__":
    sys.exit(main())
