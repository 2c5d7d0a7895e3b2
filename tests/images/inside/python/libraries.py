"""Every shared library and program finds what it links to, so nothing that was pruned is missed.

Asked of the loader itself, as `ldd` does, file by file.
"""

import functools
import os
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SECONDS = 120
LOADER = "/lib64/ld-linux-x86-64.so.2"
MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)

# Not of the image: these come with the host's driver or fabric, and only what uses such hardware loads them.
OF_THE_DRIVER = {"libcuda.so.1", "libnvidia-ml.so.1"}
OF_THE_FABRIC = {
    "libibverbs.so.1", "libmlx5.so.1", "librdmacm.so.1",  # RDMA: cuFile and NVSHMEM
    "libfabric.so.1", "libmpi.so.40", "liboshmem.so.40", "libpmix.so.2", "libucp.so.0", "libucs.so.0",  # NVSHMEM
}  # fmt: skip


def folders() -> set[Path]:
    """Where packages and CUDA's libraries are; resolved, since they may be elsewhere by a link."""
    packages = Path(sysconfig.get_path("purelib"))
    return {packages.resolve(), *(entry.resolve() for entry in packages.iterdir() if entry.is_dir()), Path(sys.prefix)}


@functools.cache
def binaries() -> tuple[Path, ...]:
    """Every ELF file of the environment, once."""
    found = {
        Path(folder, name).resolve()
        for top in folders()
        for folder, _, names in os.walk(top)
        for name in names
        if ".so" in name or os.access(Path(folder, name), os.X_OK)
    }
    return tuple(sorted(path for path in found if is_elf(path)))


def is_elf(path: Path) -> bool:
    """Whether the file is a program or library of Linux."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def unresolved(path: Path) -> set[str]:
    """The names that the loader does not find for a file, directly or for another library."""
    answer = subprocess.run(
        [LOADER, path], env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True, timeout=60, check=False
    )
    return set(MISSING.findall(answer.stdout))


def check_there_are_some() -> None:
    """Else the other check proves nothing."""
    assert len(binaries()) > 30, len(binaries())


def check_each_finds_what_it_links_to() -> None:
    """In the image, or with the driver. One of the image that another package loads first is found by its name."""
    here = {path.name for path in binaries()} | {
        name for top in folders() for _, _, names in os.walk(top) for name in names if ".so" in name
    }
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = zip(binaries(), pool.map(unresolved, binaries()), strict=True)
        missing = {str(path): lost for path, names in answers if (lost := names - here - OF_THE_DRIVER - OF_THE_FABRIC)}
    assert not missing, f"links to what is not there: {missing}"
