"""`ws cluster up`: runs `ws up --rolling` on the hosts of a cluster, one after the other, the head's host last."""

import json
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from build_report.units import whole_duration
from config.cluster_file import EXAMPLE, parse
from config.project import state_root
from config.yaml_file import InvalidYamlError, read_yaml
from embedded_engine.lock import stack_lock
from ws.errors import WsError
from ws.rolling.follower import SILENCE_SECONDS
from ws.rolling.ssh import FAILED, Remote
from ws.tables import plain_table

ROLLING = ("up", "--rolling")
ENDS = "Its run there ends by itself, after the node in work if there is one"


@dataclass(kw_only=True)
class Walk:
    """The way over the hosts."""

    name: str  # of the cluster
    hosts: tuple[Remote, ...]  # in the order of the file
    options: tuple[str, ...]  # of `ws up --rolling`
    again: str  # the command that goes on
    console: Console
    outcomes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path, options: tuple[str, ...], console: Console) -> "Walk":
        """Over the hosts of a cluster file. Raises `WsError` and `SettingsError`."""
        if not file.is_file():
            raise WsError(
                f"{file}: there is no such cluster file.\n"
                f"  Name it with --cluster FILE. How one is written: {EXAMPLE} and docs/several-hosts.md"
            )
        try:
            cluster = parse(read_yaml(file), file=file.name, key="")
        except InvalidYamlError as error:
            raise WsError(f"{file} is not valid YAML: {error}\n  {EXAMPLE} shows how it is written.") from error
        hosts = tuple(Remote.of(name, host) for name, host in cluster.hosts.items())
        again = shlex.join(("ws", "cluster", "up", "--cluster", str(file), *options))
        return cls(name=cluster.name, hosts=hosts, options=options, again=again, console=console)

    @property
    def command(self) -> tuple[str, ...]:
        """What is run on each host."""
        return (*ROLLING, *self.options)

    def run(self) -> None:
        """Walks. Raises `WsError` where a host fails, or cannot be reached; then nothing was changed anywhere."""
        # In a folder of its own: beside those of the stacks, one of them could have the same name.
        with stack_lock(state_root() / "clusters" / self.name, self.name, work="rolling replacement of a cluster"):
            if unreachable := self._unreachable():
                self._say(f"Run these in this order, each when the one before has ended well{self._note}:", "bold")
                self._print(self.hosts)
                raise WsError(
                    "Nothing was changed: not every host can be worked on over SSH.\n"
                    + "\n".join(f"  {host}: {why}" for host, why in unreachable.items())
                    + "\n  `ssh DESTINATION true` must work without a password; hosts.NAME.ssh in the cluster file "
                    "sets destination, folder and stack"
                )
            order = self._ordered()
            self._say(f"Order: {', '.join(host.name for host in order)}", "bold")
            try:
                self._walk(order)
            finally:
                self.console.print(self._table(order))

    def show_commands(self) -> None:
        """`--print`."""
        self._print(self._ordered())

    def _walk(self, order: tuple[Remote, ...]) -> None:
        for number, host in enumerate(order, 1):
            self._say(f"{host.name} ({number} of {len(order)})", "bold")
            began = time.monotonic()
            self.outcomes[host.name] = "interrupted"
            left = ", ".join(one.name for one in order[number:]) or "none"
            go_on = (
                f"Hosts not reached: {left}.\n"
                f"  Look at it there:  {host.for_people('ps')}\n"
                f"  Then go on (hosts that are done have nothing left to change):  {self.again}"
            )
            try:
                code = host.follow(self.command, self._said_by(host), self._interrupted(host))
            except KeyboardInterrupt:
                self._say(f"Interrupted at {host.name}. {go_on}", "yellow")
                raise
            self.seconds[host.name] = time.monotonic() - began
            self.outcomes[host.name] = "failed" if code else "done"
            if code == FAILED and not host.here:
                raise WsError(
                    f"The connection to {host.name} ended. {ENDS}, within {SILENCE_SECONDS:.0f} s if there is none. "
                    f"{go_on}"
                )
            if code:
                raise WsError(f"Stopped at {host.name} (exit code {code}): its output is above. {go_on}")

    def _interrupted(self, host: Remote) -> Callable[[], None]:
        return lambda: self._say(f"Interrupted at {host.name}. {ENDS}. Interrupt again to stop waiting", "yellow")

    def _unreachable(self) -> dict[str, str]:
        """Host → why it cannot be worked on."""
        found = {}
        for host in self.hosts:
            if why := self._obstacle(host):
                found[host.name] = why
        return found

    def _obstacle(self, host: Remote) -> str:
        try:
            done = host.ask("ps")
        except FileNotFoundError:
            return "OpenSSH's client, ssh, is not installed here"
        except subprocess.TimeoutExpired as error:
            return f"no answer within {error.timeout:.0f} s"
        if not done.returncode:
            return ""
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        # A banner comes before what OpenSSH says; what `ws` says ends with the remedy.
        return said[-1] if done.returncode == FAILED else " ".join(map(str.strip, said))

    def _ordered(self) -> tuple[Remote, ...]:
        """The head's host last, so that the head moves once, and to a host that is done."""
        leader = self._leader()
        if not leader:
            self._say(f"No host says which one leads{self._note}", "yellow")
        return tuple(sorted(self.hosts, key=lambda host: host.name == leader))

    @property
    def _note(self) -> str:
        return "; the head's host should be the last: `ws head show` names it"

    def _leader(self) -> str:
        for host in self.hosts:
            try:
                done = host.ask("head", "show", "--json")
                head = json.loads(done.stdout)["head"] if not done.returncode else None
            except (OSError, subprocess.TimeoutExpired, ValueError, KeyError):
                continue
            if head:
                return str(head["host"])
        return ""

    def _print(self, order: tuple[Remote, ...]) -> None:
        for host in order:
            self.console.print(Text(host.for_people(*self.command)), soft_wrap=True)

    def _said_by(self, host: Remote) -> Callable[[str], None]:
        return lambda line: self._say(f"{host.name} | {line}", "")

    def _say(self, text: str, style: str) -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)

    def _table(self, order: tuple[Remote, ...]) -> object:
        shown = plain_table(("Host", "Result", "In all"), right=("In all",))
        for host in order:
            outcome = self.outcomes.get(host.name, "not reached")
            took = whole_duration(self.seconds[host.name]) if host.name in self.seconds else ""
            shown.add_row(host.name, Text(outcome, style="green" if outcome == "done" else "yellow"), took)
        return shown
