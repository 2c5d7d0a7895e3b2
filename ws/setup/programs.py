"""Programs from the distribution's packages: finds those that are missing, and installs them."""

import contextlib
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ws.errors import WsError
from ws.setup import apt


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program, and what installs it on Debian and Ubuntu."""

    name: str
    packages: tuple[str, ...]
    places: str = ""  # pattern of its path, where it is not on PATH
    services: tuple[str, ...] = ()  # that its packages would start, now and at every boot

    def find(self) -> Path | None:
        """Where it is; of several the last by name, which is the newest."""
        if self.places:
            found = sorted(Path("/").glob(self.places.lstrip("/")))
            return found[-1] if found else None
        path = shutil.which(self.name)
        return Path(path) if path else None


def missing(programs: Collection[Program]) -> tuple[Program, ...]:
    """Those of the programs that are not here."""
    return tuple(program for program in programs if program.find() is None)


def packages_of(programs: Collection[Program]) -> tuple[str, ...]:
    """The packages that hold them, each once."""
    return tuple(dict.fromkeys(package for program in programs for package in program.packages))


def may_install() -> bool:
    """Whether this process can install packages."""
    return os.geteuid() == 0 and apt.is_debian()


def advice(programs: Collection[Program], *, debian: bool) -> str:
    """One sentence on what people install where this process may not."""
    names = ", ".join(program.name for program in programs)
    if debian:
        return f"this needs {names}: run it as root, or `sudo apt-get install {' '.join(packages_of(programs))}` first."
    return f"this needs {names}: install that with the distribution's package manager first."


def ensure(programs: Collection[Program], say: apt.Say) -> None:
    """Installs what is missing without starting any service. Raises `WsError` where it may not or cannot."""
    lacking = missing(programs)
    if not lacking:
        return
    if not may_install():
        raise WsError(advice(lacking, debian=apt.is_debian()))
    with apt.services_stay_stopped():
        apt.install(packages_of(lacking), say)
    for service in (service for program in lacking for service in program.services):
        _keep_from_boot(service)
    if still := missing(lacking):
        raise WsError(
            f"{', '.join(p.name for p in still)} still missing after {' '.join(packages_of(still))} was installed."
        )


def _keep_from_boot(service: str) -> None:
    """The next boot does not start it either; its ports are for others."""
    if shutil.which("systemctl"):
        with contextlib.suppress(WsError):
            apt.run(("systemctl", "disable", service))
