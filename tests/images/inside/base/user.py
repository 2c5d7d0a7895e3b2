"""A process of a user that the image knows nothing of, on a read-only root, without any right."""

import os
import shutil
import tempfile
from pathlib import Path

STRANGER = 4242  # as the tests start it
PLACES = ("/", "/etc", "/home", "/opt", "/opt/venv", "/usr/bin", "/var", "/workspace")


def status(key: str) -> str:
    """A value of this process's status in the kernel."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{key}:"))


def check_is_the_stranger() -> None:
    """The other checks rest on it."""
    assert (os.getuid(), os.getgid(), os.getgroups()) in ((STRANGER, STRANGER, []), (STRANGER, STRANGER, [STRANGER]))


def check_has_no_capability_and_can_gain_none() -> None:
    """Whatever a program asks for."""
    assert {key: int(status(key), 16) for key in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == dict.fromkeys(
        ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"), 0
    )
    assert status("NoNewPrivs") == "1"


def check_can_write_nowhere_but_to_tmp() -> None:
    """The root is read-only."""
    assert [place for place in PLACES if os.access(place, os.W_OK)] == []
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"written")


def check_finds_no_program_to_gain_rights() -> None:
    """Nor one that would need them."""
    assert [name for name in ("sudo", "doas", "pkexec") if shutil.which(name)] == []


def check_cannot_change_what_is_installed() -> None:
    """pip and uv are there for environments of its own; the image's is not its to change."""
    for installer in ("pip", "uv"):
        assert shutil.which(installer) == f"/opt/venv/bin/{installer}"
    assert not any(os.access(path, os.W_OK) for path in Path("/opt/venv").rglob("*") if path.is_dir())
