"""Copies of a dataset on other hosts, by rsync over OpenSSH's client."""

import re
import shlex
import subprocess
from dataclasses import dataclass

from ws.data.datasets import Dataset, Datasets
from ws.data.files import PARTIAL
from ws.errors import WsError
from ws.rolling.ssh import OPTIONS, Remote
from ws.setup import apt
from ws.setup.programs import Program, advice, missing

ALL = "all"
PROGRAMS = (
    Program(name="rsync", packages=("rsync",)),
    Program(name="ssh", packages=("openssh-client",)),
)
# How rsync and ssh say what went wrong → what it means, and the remedy. The first that matches counts.
FAILURES = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "{host} has another host key than before. If it was reinstalled, remove the old key, and verify the new one: "
        "ssh-keygen -R {address}, then ssh {destination}",
    ),
    (
        "Host key verification failed",
        "the host key of {host} is not known here. Verify and accept it by logging in once: ssh {destination}",
    ),
    (
        r"Permission denied \((publickey|password|keyboard)",
        "{host} refuses logins from here without a password. Copy your key to it: ssh-copy-id {destination}",
    ),
    (
        "(Could not resolve hostname|Connection refused|Connection timed out|No route to host|Network is unreachable)",
        "{host} does not answer at {destination}. If people log in to another name, set hosts.{host}.ssh.destination",
    ),
    (
        r"rsync: (not found|command not found)|command not found: rsync",
        "{host} has no rsync. On Debian or Ubuntu, install it there: sudo apt-get install rsync",
    ),
    ("No space left on device", "the disk of {host} is full. Make room there, then repeat the command"),
    (
        r"(mkdir|mkstemp|rename|chgrp|chown|failed to set).*Permission denied \(13\)|Read-only file system",
        "{destination} may not write {source} there. Set hosts.{host}.ssh.destination to a user who may, "
        "or give that user the folder",
    ),
    (
        "vanished|some files.* could not be transferred",
        "not everything was copied, see above. Repeat the command to resume",
    ),
)
INTERRUPTED = 20  # rsync's exit code


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to copy."""

    dry_run: bool = False
    delete: bool = False  # what is only there
    checksum: bool = False  # compare content, not size and time
    progress: bool = False  # on a terminal


def destinations(datasets: Datasets, dataset: Dataset, to: str) -> tuple[Remote, ...]:
    """The hosts to copy to. Raises `WsError`."""
    if datasets.host is None:
        raise WsError(
            f"--to {to}: the stack {datasets.identity.stack} is of a single host, so there is no host to copy to. "
            "Several hosts are a cluster: docs/several-hosts.md"
        )
    others = [host for host in dataset.hosts if host != datasets.host]
    if to != ALL and to not in others:
        raise WsError(_no_destination(datasets, dataset, to, others))
    if not others:
        raise WsError(
            f"no other host is to hold {dataset.name}. Add one to {datasets.where(dataset.name, 'hosts')}; then copy, "
            "and run `ws up` there"
        )
    return tuple(Remote.of(host, datasets.peers[host]) for host in (others if to == ALL else [to]))


def _no_destination(datasets: Datasets, dataset: Dataset, to: str, others: list[str]) -> str:
    if to == datasets.host:
        return f"--to {to}: that is this host. It can be one of: {', '.join([*others, ALL])}"
    if to in datasets.peers:
        return (
            f"--to {to}: {to} is not to hold {dataset.name}. Add it to {datasets.where(dataset.name, 'hosts')}; then "
            "copy, and run `ws up` there"
        )
    known = ", ".join([*others, ALL])
    return f"--to {to[:60]}: there is no such host in the cluster. It can be one of: {known}"


def command(dataset: Dataset, to: Remote, options: Options) -> tuple[str, ...]:
    """The command that copies a dataset to the same path on another host."""
    return (
        "rsync",
        "--archive",
        "--numeric-ids",  # containers know users by their numbers
        f"--partial-dir={PARTIAL}",  # an interrupted file goes on, and no task takes its half for all of it
        "--mkpath",
        "-s",  # no shell there reads the path
        "--human-readable",
        *(("--delete-delay",) if options.delete else ()),
        *(("--checksum",) if options.checksum else ()),
        *(("--dry-run", "--itemize-changes") if options.dry_run else ()),
        "--info=progress2,stats1" if options.progress and not options.dry_run else "--info=stats1",
        f"--rsh={shlex.join(('ssh', *OPTIONS))}",
        "--",
        f"{dataset.settings.source}/",
        f"{to.destination}:{dataset.settings.source}/",
    )


def refuse_missing_programs() -> None:
    """Raises `WsError` with what to install."""
    if lacking := missing(PROGRAMS):
        raise WsError(advice(lacking, debian=apt.is_debian()))


def refuse_empty(dataset: Dataset) -> None:
    """Raises `WsError` where nothing is to be copied: --delete would make the copies as empty as a missing disk."""
    if not any(dataset.folder.iterdir()):
        raise WsError(f"{dataset.folder} is empty. Is its disk mounted? Nothing was copied.")


def copy(dataset: Dataset, to: Remote, options: Options) -> str:
    """Copies to one host, with rsync's output as it comes. Returns why it failed; empty if it did not."""
    done = subprocess.run(
        command(dataset, to, options),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    return failure(dataset, to, done.returncode, done.stderr) if done.returncode else ""


def failure(dataset: Dataset, to: Remote, code: int, said: str) -> str:
    """What rsync's exit code and errors mean, with the errors that no sentence stands for."""
    if code == INTERRUPTED:
        return "interrupted. Repeat the command to resume where it stopped"
    words = {
        "host": to.name,
        "destination": to.destination,
        "address": to.destination.rpartition("@")[2],
        "source": dataset.settings.source,
    }
    for pattern, sentence in FAILURES:
        if re.search(pattern, said):
            return sentence.format(**words)
    last = [line for line in said.splitlines() if line.strip()][-3:]
    return f"rsync ended with code {code}: {' / '.join(last) or 'no output'}"
