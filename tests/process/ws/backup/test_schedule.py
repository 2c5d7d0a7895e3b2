"""The units of `ws backup schedule`, as systemd itself reads them."""

import subprocess
from pathlib import Path

import pytest

from config.backup import BackupSettings
from stack.identity import StackIdentity
from ws.backup import schedule


def analysed(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("project", ["project", 'a 100% "$project"'])
def test_units_are_valid(systemd_analyze, monkeypatch, tmp_path, project):
    """It warns of what it ignores, of a program that is not there, and of times that it cannot read."""
    program = tmp_path / project / "bin" / "ws"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setattr(schedule, "FOLDER", tmp_path / project)
    identity = StackIdentity(project="cslr", stack="dev")
    texts = schedule.units(identity, BackupSettings().schedule, {"HOME": "/root", "XDG_STATE_HOME": '/srv/a % "b"'})
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    done = analysed(systemd_analyze, "verify", "--man=no", *(tmp_path / name for name in texts))
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "cslr-backup" in line]
    assert (done.returncode, said) == (0, [])
