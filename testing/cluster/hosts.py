"""Hosts of a LAN, all on this machine: each has its own network, processes, mounts and name, and its own Docker daemon.

A lost host ends at once without a goodbye, as in a power failure: first its cable is cut, then the
first process of its namespaces is killed, and with it everything in them. Needs root.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.models.containers import Container

from testing.live.deployment import wait_until

NAME = "cslr-cluster"  # what everything is named by that a killed run could leave behind
SUBNET = "10.88.0"
BRIDGE_ADDRESS = f"{SUBNET}.254"
CGROUPS = Path("/sys/fs/cgroup")
START_SECONDS = 60.0
ENDS = ("--sport", "--dport")

# The first process of a host. It ends with its standard input, so a host outlives no killed run of the tests. A /run of
# its own, because the platform mounts /run/docker.sock, which must be this host's. The resolver refuses at once.
FIRST_PROCESS = """
set -e
hostname "$NAME"
mount -t tmpfs tmpfs /run
resolver=$(readlink -m /etc/resolv.conf)
mkdir -p /run/lock "${resolver%/*}"
touch "$resolver"
mount --bind "$FOLDER/resolv.conf" "$resolver"
while :; do  # as systemd would
    rm -f "$FOLDER/docker.sock"
    dockerd --data-root "$FOLDER/docker" --host unix:///run/docker.sock --host "unix://$FOLDER/docker.sock" \
        --cgroup-parent "/$CGROUP" --exec-opt native.cgroupdriver=cgroupfs >>"$FOLDER/dockerd.log" 2>&1 || sleep 0.1
done &
cat >/dev/null
:
"""


def run(*command: str | Path, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Runs a program to its end; returns what it printed. Fails with what it complained of."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr or done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Cut:
    """A direction of the network in which something is lost."""

    namespace: str  # that loses what comes in
    rules: tuple[tuple[str, ...], ...]


class Lan:
    """A switch: one bridge in a namespace of its own, where no firewall of this machine sees what passes."""

    namespace = f"{NAME}-lan"

    def __init__(self) -> None:
        self._cuts: list[Cut] = []
        run("ip", "netns", "add", self.namespace)
        for command in (
            "link set lo up",
            "link add lan type bridge",
            f"address add {BRIDGE_ADDRESS}/24 dev lan",
            "link set lan up",
        ):
            run("ip", "-n", self.namespace, *command.split())

    def plug(self, host: "Host") -> None:
        """A new cable."""
        for command in (
            f"link add {host.name} type veth peer name eth0 netns {host.namespace}",
            f"link set {host.name} master lan up",
        ):
            run("ip", "-n", self.namespace, *command.split())

    def unplug(self, host: "Host") -> None:
        """Takes the cable away."""
        self._cuts = [cut for cut in self._cuts if cut.namespace != host.namespace]  # gone with the namespace
        run("ip", "-n", self.namespace, "link", "del", host.name)

    def set_link(self, host: "Host", state: str) -> None:
        """Switches the port of a host `up` or `down`."""
        run("ip", "-n", self.namespace, "link", "set", host.name, state)

    @contextlib.contextmanager
    def cut(self, source: "Host", target: "Host", *, spared: int | None = None) -> Iterator[None]:
        """Loses all that goes from one host to the other, but for TCP from or to a spared port. One direction only."""
        # The last to come is the first in the table. Before Docker's own rules, which lead published ports elsewhere.
        from_source = ("-s", source.address)
        accept = [(*from_source, "-p", "tcp", end, str(spared), "-j", "ACCEPT") for end in ENDS] if spared else []
        cut = Cut(target.namespace, ((*from_source, "-j", "DROP"), *accept))
        for rule in cut.rules:
            self._filter(cut.namespace, "-I", rule)
        self._cuts.append(cut)
        try:
            yield
        finally:
            if cut in self._cuts:  # else it went with the power of its host
                self._cuts.remove(cut)
                for rule in reversed(cut.rules):
                    self._filter(cut.namespace, "-D", rule)

    @staticmethod
    def _filter(namespace: str, action: str, rule: Sequence[str]) -> None:
        enter = ("nsenter", f"--net=/run/netns/{namespace}")
        run(*enter, "iptables", "--wait", "-t", "raw", action, "PREROUTING", *rule)


@dataclass
class Host:
    """One host. Its Docker data survives its loss."""

    name: str
    address: str
    lan: Lan
    folder: Path
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def namespace(self) -> str:
        return f"{NAME}-{self.name}"

    @property
    def cgroup(self) -> str:
        return f"{NAME}/{self.name}"

    @property
    def docker_host(self) -> str:
        """For ``DOCKER_HOST``."""
        return f"unix://{self.folder}/docker.sock"

    @property
    def enter(self) -> tuple[str, ...]:
        """The prefix of a command that must run in this host's network."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}")

    @property
    def engine(self) -> docker.DockerClient:
        """A client of this host's Docker."""
        return docker.DockerClient(self.docker_host, timeout=300)

    # --- life and death ---

    def boot(self) -> None:
        """Power on: a fresh network, and Docker, which starts what ran before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "resolv.conf").write_text(f"nameserver {BRIDGE_ADDRESS}\n")
        run("ip", "netns", "add", self.namespace)
        self.lan.plug(self)
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.namespace, "link", "set", "eth0", "up")
        self.add_address()
        namespaces = ("unshare", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child")
        self._process = subprocess.Popen(
            [*self.enter, *namespaces, "sh", "-c", FIRST_PROCESS],
            env={**os.environ, "NAME": self.name, "FOLDER": str(self.folder), "CGROUP": self.cgroup},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(self.answers, f"Docker on {self.name} (see {self.folder}/dockerd.log)", START_SECONDS)

    def answers(self) -> bool:
        """Whether its Docker does."""
        assert self._process, f"{self.name} was never started"
        assert self._process.poll() is None, f"{self.name} ended: see {self.folder}/dockerd.log"
        try:
            return bool(docker.DockerClient(self.docker_host, timeout=2).ping())
        except (docker.errors.DockerException, OSError):
            return False

    def restart_dockerd(self) -> None:
        """Stops its Docker Engine, which is then started again."""
        (pid,) = [pid for pid in pids_in(self.namespace) if self._is_dockerd(pid)]
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), f"the end of dockerd on {self.name}", START_SECONDS)
        wait_until(self.answers, f"Docker on {self.name} (see {self.folder}/dockerd.log)", START_SECONDS)

    @staticmethod
    def _is_dockerd(pid: int) -> bool:
        with contextlib.suppress(OSError):  # ended meanwhile
            return Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd"
        return False

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def lose(self) -> None:
        """Power off."""
        if not self._process:
            return
        self.lan.set_link(self, "down")
        thaw(self.cgroup)  # what is frozen cannot die
        self._process.kill()
        self._process.wait()
        self._process = None
        end_all_in(self.namespace)
        self.lan.unplug(self)
        run("ip", "netns", "del", self.namespace)

    # --- its address ---

    def add_address(self) -> None:
        run("ip", "-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", self.namespace, "route", "replace", "default", "via", BRIDGE_ADDRESS)

    def remove_address(self) -> None:
        """The routes go with it."""
        run("ip", "-n", self.namespace, "address", "del", f"{self.address}/24", "dev", "eth0")

    # --- its processes ---

    def processes(self, container: Container) -> dict[int, str]:
        """Every process of a running container: process id, as seen from this machine → command line."""
        found = {}
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it ended, or is not a process
                if folder.name.isdigit() and str(container.id) in (folder / "cgroup").read_text():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    found[int(folder.name)] = command
        return found

    def signal(self, container: Container, program: str, number: signal.Signals) -> int:
        """Sends a signal to each process of a container with `program` in its command line. How many they are."""
        matching = [pid for pid, command in self.processes(container).items() if program in command]
        for pid in matching:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(matching)


def pids_in(namespace: str) -> list[int]:
    """The processes that use a network namespace."""
    return [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]


def end_all_in(namespace: str) -> None:
    """Kills whatever uses a network namespace."""

    def ended() -> bool:
        pids = pids_in(namespace)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_until(ended, f"the end of all processes in {namespace}")


def thaw(cgroup: str) -> None:
    """Thaws what `docker pause` froze (cgroup v1; what v2 freezes can be killed)."""
    for state in sorted((CGROUPS / "freezer" / cgroup).rglob("freezer.state")):
        with contextlib.suppress(OSError):
            state.write_text("THAWED")


def namespaces() -> list[str]:
    """Those of a LAN, regardless of its maker."""
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.startswith(f"{NAME}-")]


def clean() -> None:
    """Removes every host and the LAN, also those of a killed run."""
    thaw(NAME)
    for namespace in namespaces():
        end_all_in(namespace)
        run("ip", "netns", "del", namespace)
    for top in (*CGROUPS.glob(f"*/{NAME}"), CGROUPS / NAME):
        folders = sorted((folder for folder in top.rglob("*") if folder.is_dir()), reverse=True) if top.is_dir() else []
        for folder in (*folders, top):
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def hosts(names: Sequence[str], folder: Path) -> Iterator[dict[str, Host]]:
    """Hosts on one LAN, up; nothing but their folders is left of them in the end."""
    clean()
    try:
        lan = Lan()
        found = {
            name: Host(name, f"{SUBNET}.{number}", lan, folder / name) for number, name in enumerate(names, start=1)
        }
        for host in found.values():
            host.boot()
        yield found
    finally:
        clean()
