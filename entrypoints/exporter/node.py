"""The host's own figures: Debian's node_exporter as a child on the loopback, whose text is passed through as it is."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

START_SECONDS = 5.0
SCRAPE_SECONDS = 5.0
RESTART_SECONDS = 10.0  # at most one start in so many
PROMETHEUS_TEXT = "text/plain;version=0.0.4"
# What needs a bus or a daemon of the host, or is of no use on one that runs containers.
WITHOUT = ("arp", "bcache", "bonding", "btrfs", "fibrechannel", "infiniband", "ipvs", "nfs", "nfsd", "rapl", "selinux",
           "systemd", "tapestats", "textfile", "xfs", "zfs")  # fmt: skip
VIRTUAL = "^(veth.*|br-.*|docker.*|cali.*|lo)$"
NO_DISKS = "^/(dev|etc|proc|run|sys|tmp|host)($|/)"


class NodeError(Exception):
    """node_exporter does not answer: one sentence."""


class NodeExporter:
    """Keeps the child running, and asks it."""

    def __init__(self, program: Path, port: int, *, proc: Path, sys: Path) -> None:
        self._program = program
        self._port = port
        self._proc, self._sys = proc, sys
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._failure = "node_exporter ended"
        self._folder: Path | None = None

    @property
    def pid(self) -> int | None:
        """The child's PID."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the child if it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._started and time.monotonic() - self._started < RESTART_SECONDS:
            raise NodeError(f"{self._failure}, and is started again soon")
        self._started = time.monotonic()
        try:
            self._process = subprocess.Popen(self._command(), env={**os.environ, "GOMAXPROCS": "1"})
        except OSError as error:
            self._failure = f"{self._program} cannot be started: {error.strerror}"
            raise NodeError(self._failure) from error
        self._failure = "node_exporter ended"

    def text(self) -> bytes:
        """What the child has to say; raises NodeError."""
        self.start()
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._asked()
            except ConnectionRefusedError:  # it has not come up yet
                if time.monotonic() > until or (self._process and self._process.poll() is not None):
                    raise NodeError("node_exporter does not listen") from None
                time.sleep(0.02)
            except (OSError, http.client.HTTPException) as error:
                raise NodeError(f"node_exporter does not answer: {error or type(error).__name__}") from error

    def end(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _asked(self) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SCRAPE_SECONDS)
        try:
            connection.request("GET", "/metrics", headers={"Accept": PROMETHEUS_TEXT})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise NodeError(f"node_exporter answers HTTP {answer.status}")
        return body

    def _command(self) -> list[str]:
        view = self._view_of_proc()
        return [
            str(self._program),
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--web.disable-exporter-metrics",
            f"--path.procfs={view}",
            f"--path.udev.data={view}",  # which nobody may read; without such a folder it complains
            f"--path.sysfs={self._sys}",
            "--no-collector.netdev.netlink",  # which would show this container's own interfaces
            f"--collector.netdev.device-exclude={VIRTUAL}",
            f"--collector.netclass.ignored-devices={VIRTUAL}",
            f"--collector.filesystem.mount-points-exclude={NO_DISKS}",
            "--log.level=warn",
            *(f"--no-collector.{name}" for name in WITHOUT),
        ]

    def _view_of_proc(self) -> Path:
        """The host's /proc with the network of its first process in place of this one's.

        Without that process's mounts: they are not here, so node_exporter shows those of this container.
        """
        self._folder = self._folder or Path(tempfile.mkdtemp(prefix="proc-"))
        network = self._proc / "1/net"
        for entry in self._proc.iterdir():
            link = self._folder / entry.name
            if not link.is_symlink() and not entry.name.isdecimal():
                link.symlink_to(network if entry.name == "net" and network.exists() else entry)
        return self._folder
