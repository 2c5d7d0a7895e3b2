"""Implements `ws backup schedule`: the units of systemd that make backups on time."""

from pathlib import Path

from config.project import FOLDER
from stack.identity import StackIdentity

UNITS = Path("/etc/systemd/system")


def units(identity: StackIdentity, calendar: str, environment: dict[str, str]) -> dict[str, str]:
    """The name and text of each unit."""
    name, stack = f"cslr-backup-{identity.stack}", identity.stack
    ws = '"' + _quoted(str(FOLDER / "bin" / "ws")).replace("$", "$$") + '"'  # a command expands variables
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
