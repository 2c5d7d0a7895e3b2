"""Docker Engine: uses a running one, or else installs and starts it, or names the commands to do so."""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from docker_api.address import named_address
from docker_api.api import DockerApi, DockerError
from images.base.recipe import DEBIAN_KEYS
from ws.errors import WsError
from ws.progress import wait_until
from ws.setup import apt, programs, systemd
from ws.setup.apt import INSTALL, LAST_LINES, UPDATE, Say
from ws.setup.programs import Program

SOCKET = Path("/var/run/docker.sock")
LOG = Path("/var/log/dockerd.log")
START_SECONDS = 60.0
# For base images where no registry answers: debootstrap, and what it checks the downloads with.
BOOTSTRAP = (
    Program(name="debootstrap", packages=("debootstrap",)),
    Program(name="Debian's keys", packages=("debian-archive-keyring",), places=str(DEBIAN_KEYS)),
)
# iptables: dockerd needs it, and docker.io only recommends it.
PACKAGES = ("docker.io", *programs.packages_of(BOOTSTRAP), "iptables")
DOCKERD = Program(name="dockerd", packages=PACKAGES)
# Apart from docker.io since Debian 13. Nothing here needs it; people do, and remedies name it.
CLIENT = "docker-cli"
SYSTEMD_START = ("systemctl", "enable", "--now", "docker")
DAEMON = ("dockerd",)


@dataclass(frozen=True, kw_only=True)
class DockerFacts:
    """Facts that decide how Docker can be started on this host."""

    answers: bool = False
    root: bool = False
    debian: bool = False  # Debian, Ubuntu or another that installs with apt-get
    systemd: bool = False
    installed: bool = False  # there is a dockerd
    forbidden: bool = False  # there is a socket, which this user may not use
    address: str = ""  # DOCKER_HOST

    @classmethod
    def probe(cls) -> "DockerFacts":
        """Read them from this host."""
        address = named_address()
        return cls(
            answers=answers(),
            root=os.geteuid() == 0,
            debian=apt.is_debian(),
            systemd=systemd.runs_this_host(),
            installed=bool(shutil.which("dockerd")),
            forbidden=not address and SOCKET.exists() and not os.access(SOCKET, os.R_OK | os.W_OK),
            address=address,
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The commands to run, then the daemon, which keeps running."""

    commands: tuple[tuple[str, ...], ...] = ()
    daemon: tuple[str, ...] = ()


def plan(host: DockerFacts) -> Plan:
    """How to get Docker to run on a host. Raises `WsError` with the remedy where only its owner can."""
    if host.answers:
        return Plan()
    if host.address:
        raise WsError(
            f"DOCKER_HOST is {host.address}, where no Docker answers.\n  Start it there, or unset DOCKER_HOST."
        )
    if host.forbidden:
        raise WsError(
            f"this user may not use Docker ({SOCKET} is closed to it).\n"
            '  Run `sudo usermod -aG docker "$USER"` and log in again, or run this as root.'
        )
    if not (host.root and (host.installed or host.debian)):
        raise WsError(_advice(host))
    install = () if host.installed else (UPDATE, (*INSTALL, *PACKAGES))
    if host.systemd:
        return Plan(commands=(*install, SYSTEMD_START))
    return Plan(commands=install, daemon=DAEMON)


def _advice(host: DockerFacts) -> str:
    steps = [] if host.installed else [f"sudo {' '.join(command)}" for command in (UPDATE, (*INSTALL, *PACKAGES))]
    steps += [f"sudo {' '.join(SYSTEMD_START)}" if host.systemd else "sudo dockerd &"]
    what = "Docker is installed, but does not run" if host.installed else "Docker is not installed on this host"
    if not host.installed and not host.debian:
        return (
            f"{what}, and on this distribution it cannot be installed automatically (only on Debian and Ubuntu).\n"
            "  Install Docker Engine 20.10 or newer with your package manager, start it, and run this again."
        )
    return "\n".join([f"{what}, and only root can change that. Run this as root, or run these commands:"]) + "".join(
        f"\n    {step}" for step in steps
    )


def ensure(say: Say) -> None:
    """Makes Docker answer. Touches nothing where it does."""
    host = DockerFacts.probe()
    steps = plan(host)
    for command in steps.commands:
        say(f"running {' '.join(command)}")
        apt.run(command)
    if (*INSTALL, *PACKAGES) in steps.commands and not shutil.which("docker"):
        with contextlib.suppress(WsError):
            apt.run((*INSTALL, CLIENT))
    if steps.daemon and not answers():  # a package may have started it
        say(f"starting {steps.daemon[0]}, log in {LOG}")
        _start(steps.daemon)
    elif steps.commands:
        _wait(None)


def answers() -> bool:
    """Whether a Docker Engine answers."""
    try:
        DockerApi()
    except DockerError:
        return False
    return True


def ensure_debootstrap(say: Say) -> None:
    """Installs debootstrap and Debian's keys where they are missing and may be installed.

    Otherwise base images say so if these are needed.
    """
    lacking = programs.missing(BOOTSTRAP)
    if lacking and programs.may_install():
        apt.install(programs.packages_of(lacking), say)


def _start(daemon: tuple[str, ...]) -> None:
    """Starts the daemon so that it outlives this program and its terminal."""
    with LOG.open("ab") as log:
        process = subprocess.Popen(daemon, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    _wait(process)


def _wait(process: "subprocess.Popen[bytes] | None") -> None:
    def ended() -> bool:
        return process is not None and process.poll() is not None

    wait_until(lambda: "" if answers() or ended() else "Docker starts", START_SECONDS, pause=0.5)
    if not answers():
        why = "ended at once" if ended() else f"does not answer after {START_SECONDS:.0f} s"
        raise WsError(f"dockerd {why}. The end of {LOG}:\n{_end_of_log()}")


def _end_of_log() -> str:
    try:
        lines = LOG.read_text(errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        return "  (it cannot be read; try: journalctl -u docker)"
    return "\n".join(f"  {line}" for line in lines)
