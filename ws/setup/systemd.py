"""Whether systemd runs this host, so that services and timers of it would start."""

from pathlib import Path

RUNNING = Path("/run/systemd/system")  # there if it does (sd_booted(3)); containers may have its programs without it


def runs_this_host() -> bool:
    """Whether it is the init system here, and not only installed."""
    return RUNNING.is_dir()
