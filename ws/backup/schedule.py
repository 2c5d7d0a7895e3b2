"""Implements `ws backup schedule`: the units of systemd that make backups on time."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from config.project import FOLDER
from stack.identity import StackIdentity
from ws.errors import WsError
from ws.setup import systemd

UNITS = Path("/etc/systemd/system")


def refuse_other_hosts(identity: StackIdentity, environment: Mapping[str, str]) -> None:
    """Raises `WsError`, with a line for cron, where no timer would ever run: in containers, on other init systems."""
    if not systemd.runs_this_host():
        raise WsError(
            "this host is not run by systemd, so a timer would never start. Nothing was changed.\n"
            "  With cron, add this line to root's table (sudo crontab -e), with the time you want:\n"
            f"    {cron_line(identity, environment)}"
        )


def cron_line(identity: StackIdentity, environment: Mapping[str, str]) -> str:
    """The same in a crontab, every night."""
    ws, stack = quote(str(FOLDER / "bin" / "ws")), identity.stack
    variables = "".join(f"{key}={quote(value)} " for key, value in environment.items())
    command = f"{variables}{ws} backup -s {stack} && {variables}{ws} backup prune --yes -s {stack}"
    return f"30 2 * * * {command}".replace("%", r"\%")  # which ends a command there


def units(identity: StackIdentity, calendar: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The name and text of each unit."""
    name, stack = f"cslr-backup-{identity.stack}", identity.stack
    # As an argument, since systemd takes no program whose path has quotes. Arguments expand variables.
    ws = '/usr/bin/env "' + _quoted(str(FOLDER / "bin" / "ws")).replace("$", "$$") + '"'
    variables = "".join(f'Environment="{key}={_quoted(value)}"\n' for key, value in environment.items())
    return {
        f"{name}.service": f"""\
[Unit]
Description=Backup of the stack {identity.stack}
After=docker.service network-online.target
Wants=network-online.target

[Service]
Type=oneshot
{variables}ExecStart={ws} backup -s {stack}
ExecStart={ws} backup prune --yes -s {stack}
Nice=10
IOSchedulingClass=idle
""",
        f"{name}.timer": f"""\
[Unit]
Description=Backups of the stack {identity.stack}

[Timer]
OnCalendar={calendar}
RandomizedDelaySec=5min
Persistent=true

[Install]
WantedBy=timers.target
""",
    }


def _quoted(text: str) -> str:
    """A text as it stands between double quotes in a unit, where % begins a specifier."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
