"""`ws` on a host of a cluster: over OpenSSH's client, or without it where that is this machine."""

import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

from config.cluster import ClusterHost
from config.project import FOLDER
from coordination.own_address import source_address
from ws.rolling.follower import BEAT_SECONDS

# No question can be answered here. A host that is off must not be waited for, also in the middle of a run.
OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15")
SECONDS = 60.0  # for a question, not for a run
FOLLOWED = "--followed"  # hidden option of `ws up`
FAILED = 255  # how OpenSSH's client ends if it failed itself
UNREADABLE = "replace"  # what a host shows before it runs a command may be in any encoding


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One host, and how it is worked on."""

    name: str
    destination: str
    folder: str
    stack: str
    here: bool  # whether it is this machine

    @classmethod
    def of(cls, name: str, host: ClusterHost) -> "Remote":
        """As the cluster file says."""
        return cls(
            name=name,
            destination=host.ssh.destination or host.address,
            folder=host.ssh.folder or str(FOLDER),
            stack=host.ssh.stack or name,
            here=source_address(host.address) == host.address,
        )

    def shell(self, *words: str) -> str:
        """The command there, for a shell."""
        return f"cd {shlex.quote(self.folder)} && {shlex.join(('bin/ws', *words, '--stack', self.stack))}"

    def command(self, *words: str) -> tuple[str, ...]:
        """The command here."""
        text = self.shell(*words)
        return ("sh", "-c", text) if self.here else ("ssh", *OPTIONS, "--", self.destination, text)

    def for_people(self, *words: str) -> str:
        """The command, to be typed on this machine."""
        text = self.shell(*words)
        return text if self.here else shlex.join(("ssh", self.destination, text))

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a short command to its end. Raises `OSError` and `subprocess.TimeoutExpired`."""
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors=UNREADABLE,
            timeout=SECONDS,
            check=False,
        )

    def follow(self, words: tuple[str, ...], say: Callable[[str], None], interrupted: Callable[[], None]) -> int:
        """Runs a long command, line by line, and lets it know that it is followed. Its exit code.

        On an interrupt it is followed no more, `interrupted` is called, and its end is waited for. Raises
        `KeyboardInterrupt` after that, or at a second interrupt.
        """
        with subprocess.Popen(
            self.command(*words, FOLLOWED),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors=UNREADABLE,
            start_new_session=True,  # a terminal sends an interrupt to all processes of its own session
        ) as process:
            with _followed(process):
                try:
                    return _read(process, say)
                except KeyboardInterrupt:
                    interrupted()
            try:
                _read(process, say)
            except KeyboardInterrupt:
                process.terminate()
            raise KeyboardInterrupt


def _read(process: "subprocess.Popen[str]", say: Callable[[str], None]) -> int:
    for line in process.stdout or ():
        say(line.rstrip("\n"))
    return process.wait()


@contextmanager
def _followed(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Sends a line to the process now and then, and closes its input in the end."""
    over = threading.Event()

    def beat() -> None:
        with suppress(OSError), process.stdin or nullcontext() as stdin:
            while stdin and not over.wait(BEAT_SECONDS):
                stdin.write("\n")
                stdin.flush()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
