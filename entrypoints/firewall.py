"""Blocks other machines from ports that the stack does not publish to them, with nftables rules.

Docker before Engine 28 forwards packets from any neighbour to a published port of a container, although it is published
on 127.0.0.1. In a cluster of several hosts, Ray's own ports are also open on the host's address. The rules are in an
nftables table of the stack's own, which changes of Docker's or the host's rules do not affect. Runs as root on the
host's network with no capability but CAP_NET_ADMIN. Standard library only, Python 3.10 or newer; needs ``nft``.

    -m entrypoints.firewall           keep the rules until SIGTERM, then remove them
    -m entrypoints.firewall health    0 while they are in place, else 1 and the reason

Settings: contracts/firewall.py.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from contracts.document import DocumentError, load_settings
from contracts.firewall import FirewallSettings
from entrypoints.log import logger

LOOK_SECONDS = 2.0
STALE_SECONDS = 20.0
NFT_SECONDS = 10.0
RESOLVE_SECONDS = 60.0  # interval at which names of hosts are resolved again
REPAIRED_SECONDS = 300.0  # how long the health check mentions rules that another program removed
GET_ADDRESS = 0x8915  # SIOCGIFADDR
PRIORITY = -10  # before the rules of Docker and of the host, whose "accept" ends no other table
LOOPBACK = "127.0.0.0/8"

say = logger("firewall")


class FirewallError(Exception):
    """The rules cannot be set: one sentence."""


# ------------------------------------------------------------------------------------------------- the rules


def ruleset(rules: FirewallSettings, bridge: str, hosts: Iterable[str]) -> str:
    """The table in the syntax of ``nft``. ``hosts`` are the resolved addresses of the cluster's hosts."""
    trusted = [*hosts, *rules.allow]  # empty while no host name can be resolved: then no machine is let in
    allow = [f"ip saddr {_sources(rules.allow)} accept"] if rules.allow else []
    forward = [
        # Only traffic that enters the bridge from elsewhere concerns us.
        f'oifname != "{bridge}" accept',
        f'iifname "{bridge}" accept',
        "ct direction reply accept",
        *allow,
    ]
    if rules.forwarded:
        ports = _set(map(str, rules.forwarded))
        others = f"ip saddr != {_sources(trusted)} " if trusted else ""
        forward.append(f"meta l4proto tcp ct original proto-dst {ports} {others}drop")
    # Ports that Docker published, except on the loopback: no other machine can connect to 127.0.0.1 of this one.
    forward += [f"ct status dnat ct original ip daddr != {LOOPBACK} accept", "drop"]
    chains = {f"forward priority {PRIORITY}": forward}
    if rules.ports:
        chains[f"input priority {PRIORITY}"] = [f"tcp dport {_set(rules.ports)} jump guarded"]
    guarded = ['iifname "lo" accept', "ct direction reply accept"]
    if trusted:
        guarded.append(f"ip saddr {_sources(trusted)} accept")
    if asked := sorted({*rules.forwarded, *rules.scraped}):
        # The stack's own containers ask for it at the host's address, where Docker's proxy, or Ray's node on the host's
        # network, takes their connections.
        guarded.append(f'iifname "{bridge}" tcp dport {_set(map(str, asked))} accept')
    guarded.append("drop")
    text = [f"table inet {rules.table}", f"delete table inet {rules.table}", f"table inet {rules.table} {{"]
    if rules.ports:
        text += _chain("guarded", guarded)
    for hook, lines in chains.items():
        text += _chain(hook.partition(" ")[0], [f"type filter hook {hook}; policy accept;", *lines])
    return "\n".join([*text, "}", ""])


def _chain(name: str, lines: Iterable[str]) -> list[str]:
    return [f"  chain {name} {{", *(f"    {line}" for line in lines), "  }"]


def _sources(addresses: Iterable[str]) -> str:
    """The networks without those that others include: nftables sets must not overlap."""
    networks = {ipaddress.IPv4Network(address): address for address in addresses}
    widest = [one for one in networks if not any(one != other and one.subnet_of(other) for other in networks)]
    return _set(networks[one] for one in sorted(widest))


def _set(members: Iterable[str]) -> str:
    return f"{{ {', '.join(members)} }}"


# ------------------------------------------------------------------------------------------------- the host


def nft(*arguments: str, given: str = "") -> str:
    """Run ``nft``; raise FirewallError with its error message."""
    try:
        done = subprocess.run(
            ["nft", *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=NFT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise FirewallError("this image has no nft: give the service `firewall` one that has it") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FirewallError(f"nft does not answer: {error}") from error
    if done.returncode:
        raise FirewallError(f"nft: {' '.join((done.stderr or done.stdout).split())[:300]}")
    return done.stdout


def interface_of(address: str) -> str | None:
    """The network interface of this host that has the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # the interface has no address
                answer = fcntl.ioctl(any_socket, GET_ADDRESS, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return None


class Names:
    """Addresses of hosts, some given by name. A name that cannot be resolved keeps its last addresses."""

    def __init__(self, hosts: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._hosts = tuple(hosts)
        self._clock = clock
        self._known: dict[str, tuple[str, ...]] = {}
        self._at: float | None = None

    def addresses(self) -> tuple[str, ...]:
        """IPv4 addresses of all hosts, sorted."""
        if self._at is None or self._clock() - self._at >= RESOLVE_SECONDS:
            self._at = self._clock()
            for host in self._hosts:
                self._look_up(host)
        return tuple(sorted({address for found in self._known.values() for address in found}))

    def _look_up(self, host: str) -> None:
        try:
            self._known[host] = (str(ipaddress.IPv4Address(host)),)
        except ValueError:
            with suppress(OSError):
                found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
                self._known[host] = tuple(str(entry[4][0]) for entry in found)


# ------------------------------------------------------------------------------------------------- the firewall


@dataclass
class Report:
    """The firewall's report for its health check."""

    at: float  # on the monotonic clock, which all processes of a host share
    problem: str = ""  # why the rules are not in place
    repaired: int = 0  # how often they were set again because others had removed or changed them
    repaired_at: float = 0.0


@dataclass
class Firewall:
    """Sets the rules, checks them periodically, and removes them at the end."""

    rules: FirewallSettings
    nft: Callable[..., str] = nft
    bridge_of: Callable[[str], str | None] = interface_of
    report: Report = field(default_factory=lambda: Report(time.monotonic()))
    _names: Names | None = None
    _set: str = ""  # the rules that were set
    _listed: str = ""  # and how the kernel lists them

    def look(self) -> None:
        """Set the rules if they are missing or changed; raise FirewallError if that is impossible."""
        self._names = self._names or Names(self.rules.hosts)
        bridge = self.bridge_of(self.rules.gateway)
        if bridge is None:
            raise FirewallError(f"no interface of this host has {self.rules.gateway}: is the containers' network gone?")
        wanted = ruleset(self.rules, bridge, self._names.addresses())
        changed = wanted != self._set
        if not changed and self._listing() == self._listed:
            return
        self.nft("-f", "-", given=wanted)
        self._set, self._listed = wanted, self._listing()
        if changed:
            say(f"rules are set: table inet {self.rules.table}, bridge {bridge}")
        else:
            self.report.repaired += 1
            self.report.repaired_at = time.monotonic()
            say("rules were removed or changed by another program, and are set again")

    def remove(self) -> None:
        """Remove the rules, also those that an earlier container left."""
        with suppress(FirewallError):  # another program was first
            self.nft("delete", "table", "inet", self.rules.table)
            say("rules are removed")

    def _listing(self) -> str:
        try:
            return self.nft("--stateless", "list", "table", "inet", self.rules.table)
        except FirewallError:
            return ""


def report_file() -> Path:
    """The file with the firewall's report for `health`."""
    return Path(tempfile.gettempdir()) / "cslr-firewall"


def tell(report: Report) -> None:
    """Write the report for `health`."""
    new = report_file().with_suffix(".new")
    new.write_text(json.dumps(asdict(report)), encoding="utf-8")
    new.replace(report_file())


def run(environment: Mapping[str, str]) -> int:
    """Keep the rules until SIGTERM; 1 if the settings are invalid."""
    # Not an Event, whose lock may be held by the very thread that a signal interrupts.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.put(number))
    try:
        firewall = Firewall(load_settings(FirewallSettings, environment))
    except DocumentError as error:
        say(f"{error}.")
        return 1
    while signals.empty():
        problem = ""
        try:
            firewall.look()
        except FirewallError as error:
            problem = str(error)
            if problem != firewall.report.problem:
                say(problem)
        firewall.report.problem, firewall.report.at = problem, time.monotonic()
        tell(firewall.report)
        with suppress(queue.Empty):
            signals.get(timeout=LOOK_SECONDS)
            break
    firewall.remove()
    return 0


def health() -> int:
    """0 if the rules were in place at the last check; else 1 and the reason on stdout."""
    try:
        report = Report(**json.loads(report_file().read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError):
        print("has not set its rules yet")
        return 1
    age = time.monotonic() - report.at
    if report.problem or age > STALE_SECONDS:
        print(report.problem or f"has not checked its rules for {age:.0f} s")
        return 1
    recently = report.repaired and time.monotonic() - report.repaired_at < REPAIRED_SECONDS
    print(f"rules stand{f'; set again {report.repaired} times, since others removed them' if recently else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(health() if sys.argv[1:] == ["health"] else run(os.environ))
