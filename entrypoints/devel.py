"""Starts sshd for people's shells and editors; runs in the container devel, as its ordinary user.

Reads the keys of people (KEYS_TARGET), which sshd reads again at each login, and keeps the host's own key in
HOST_KEYS_TARGET, so that the host stays the same one to those who know it. A login gets this program's environment, and
finds the examples in its home. Standard library only, Python 3.10 or newer.

    -m entrypoints.devel PORT    serve until ended
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from contracts.devel import HOST_KEYS_TARGET, KEYS_FILE, KEYS_TARGET, USER
from entrypoints import examples
from entrypoints.log import logger
from entrypoints.ray.launcher import keep_half

SSHD = "/usr/sbin/sshd"
KEYS = Path(KEYS_TARGET) / KEYS_FILE
HOST_KEY = Path(HOST_KEYS_TARGET) / "ssh_host_ed25519_key"
CONFIGURATION = Path("/run/state/sshd_config")
# What a login has from sshd itself, or what belongs to this process alone.
OWN = frozenset({"HOME", "USER", "LOGNAME", "SHELL", "MAIL", "PWD", "OLDPWD", "SHLVL", "_"})
# Who connects and goes without a login: the health service every few seconds, the health check from this container.
UNHEARD = re.compile(
    r"Connection closed by (\S+ port \d+|authenticating user \S+ (127\.0\.0\.1|::1) port \d+) \[preauth\]$"
)
# sshd wants to write to the host's logs of logins, which no container has.
UNWRITTEN = re.compile(r"(lastlog_openseek: Couldn't stat|Attempt to write login records by non-root user)")

say = logger("devel")


def precondition() -> str:
    """Return a sentence about a missing precondition; empty if sshd can start."""
    if not os.access(SSHD, os.X_OK):
        return f"{SSHD} is missing: this image has no SSH server. Set devel.image to one that has, or remove it."
    if not os.access(KEYS, os.R_OK):
        return f"{KEYS} is missing or unreadable; `ws up` writes it from devel.keys."
    if not os.access(HOST_KEY.parent, os.W_OK | os.X_OK):
        return (
            f"{HOST_KEY.parent} is not a folder that user {os.getuid()} can write to; give the folder of "
            f"devel.host_keys to that user: chown {os.getuid()} <folder on the host>."
        )
    return ""


def make_host_key(key: Path = HOST_KEY) -> None:
    """Make the host's key at the first start. Raises CalledProcessError, or OSError."""
    if key.is_file() and key.stat().st_size:  # empty after a loss of power
        key.chmod(0o600)  # sshd refuses a key that others may read, as after a copy by hand
        return
    draft = key.with_name(f"{key.name}.draft")  # whoever is cut off here begins again
    for path in (draft, draft.with_name(f"{draft.name}.pub")):
        path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(draft)], check=True)
    draft.replace(key)


def configuration(port: int, environment: Mapping[str, str]) -> str:
    """Return what sshd is told."""
    lines = {
        "Port": str(port),
        "HostKey": str(HOST_KEY),
        "PidFile": "none",
        "AuthorizedKeysFile": str(KEYS),
        # The mount is read-only, and may belong to whoever deploys, whom sshd does not know.
        "StrictModes": "no",
        "AllowUsers": USER,
        "AuthenticationMethods": "publickey",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "PermitRootLogin": "no",
        "UsePAM": "no",
        # All connections come from one address, Docker's: a penalty for one person would lock out all.
        "PerSourcePenalties": "no",
        # All editors of a group come at once after a restart. Whoever holds connections without a login leaves room for
        # the health check, which comes from another address: without it, the container would count as unhealthy.
        "MaxStartups": "60:30:120",
        "PerSourceMaxStartups": "40",
        "MaxSessions": "50",  # of a connection that programs share
        "LoginGraceTime": "30",
        "ClientAliveInterval": "30",  # a laptop that was closed ends its session after two minutes
        "ClientAliveCountMax": "4",
        # VS Code reaches the server that it starts here by `ssh -D` or `-L`. Whoever is logged in can open the same
        # connections by a program.
        "AllowTcpForwarding": "local",
        # A forwarded agent signs for whoever is user 1000 here, as every member of the group is.
        "AllowAgentForwarding": "no",
        "AllowStreamLocalForwarding": "no",
        "X11Forwarding": "no",
        "PermitTunnel": "no",
        "PermitUserRC": "no",
        "PermitUserEnvironment": "no",
        "PrintMotd": "no",
        "Subsystem": "sftp internal-sftp",
        "SetEnv": " ".join(quoted(environment)),
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())


def quoted(environment: Mapping[str, str]) -> Iterator[str]:
    """Return a login's variables as sshd reads them."""
    # A login shell begins with a PATH of its own: /etc/profile.d/cslr.sh sets this one again.
    given = {**environment, "CSLR_PATH": environment.get("PATH", "")}
    for name, value in sorted(given.items()):
        if name not in OWN and value.isprintable():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            yield f'"{name}={escaped}"'


def worth_telling(line: str) -> bool:
    """Return whether people want to read a line of sshd."""
    return not UNHEARD.search(line) and not UNWRITTEN.match(line)


def pass_on(lines: Iterable[str]) -> None:
    """Print what sshd says, who logged in with which key among it."""
    for line in lines:
        if worth_telling(line.strip()):
            say(line.strip())


def serve(port: int) -> int:
    """Run sshd until it or this container is ended; return its exit code."""
    CONFIGURATION.write_text(configuration(port, os.environ), encoding="utf-8")
    CONFIGURATION.chmod(0o600)  # variables may be secrets
    sshd = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(CONFIGURATION)], stderr=subprocess.PIPE, text=True, errors="replace"
    )
    signal.signal(signal.SIGTERM, lambda *_: sshd.terminate())
    # In a thread, since sessions hold this pipe after sshd itself has ended.
    threading.Thread(target=pass_on, args=(sshd.stderr or (),), daemon=True).start()
    return sshd.wait()


def prepare_folders() -> None:
    """Make the folder for temporary files, and give the examples to a home without them; people can do without both."""
    home = Path(os.environ.get("HOME", "/tmp"))  # noqa: S108
    try:
        if temporary := os.environ.get("TMPDIR"):
            Path(temporary).mkdir(parents=True, exist_ok=True)
        if not (home / examples.NAME).exists():
            examples.unpack(Path(examples.ARCHIVE), home)
    except (OSError, zipfile.BadZipFile) as error:  # a full disk, say
        say(f"no folder for temporary files, or no examples in {home}: {error}")


def main() -> int:
    """Serve; return 1 when that is impossible."""
    if missing := precondition():
        say(f"error: {missing}")
        return 1
    try:
        make_host_key()
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"error: no host key in {HOST_KEY.parent}: {error}")
        return 1
    prepare_folders()
    subprocess.Popen([sys.executable, "-m", "entrypoints.ray.process_guard", "devel"], start_new_session=True)
    keep_half()
    return serve(int(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
