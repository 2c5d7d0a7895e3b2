"""What ssh is asked about a repository."""

import subprocess
from types import SimpleNamespace

import pytest

from ws.backup import ssh


@pytest.mark.parametrize(
    ("location", "destination"),
    [
        ("sftp:backup@nas:/srv/b", ["backup@nas"]),
        ("sftp:nas:b", ["nas"]),
        ("sftp://backup@nas:2222//srv/b", ["-p", "2222", "-l", "backup", "nas"]),
        ("sftp://nas//srv/b", ["nas"]),
        ("sftp://backup@[::1]:2222//srv/b", ["-p", "2222", "-l", "backup", "::1"]),
    ],
)
def test_it_logs_in_where_restic_does(monkeypatch, location, destination):
    told: list[list[str]] = []

    def refused(command: list[str], **_: object) -> SimpleNamespace:
        told.append(command)
        return SimpleNamespace(returncode=255, stderr=b"no")

    monkeypatch.setattr(subprocess, "run", refused)
    assert ssh.complaint(location) == "no"
    assert told == [["ssh", "-o", "BatchMode=yes", *destination, "-s", "sftp"]]
