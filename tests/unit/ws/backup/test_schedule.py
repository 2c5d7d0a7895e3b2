"""The units of systemd."""

from pathlib import Path

import pytest

from stack.identity import StackIdentity
from ws.backup import schedule
from ws.errors import WsError
from ws.setup import docker, systemd

IDENTITY = StackIdentity(project="cslr", stack="dev")


def test_what_systemd_expands_in_paths_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(schedule, "FOLDER", Path('/srv/100% $ours/it\'s "x"'))
    text = schedule.units(IDENTITY, "daily", {"HOME": '/home/a%h\\"b'})["cslr-backup-dev.service"]
    assert 'Environment="HOME=/home/a%%h\\\\\\"b"\n' in text
    assert 'ExecStart=/usr/bin/env "/srv/100%% $$ours/it\'s \\"x\\"/bin/ws" backup -s dev\n' in text


def test_nothing_is_pruned_after_a_backup_that_failed():
    """A service of this type ends with the first command that fails."""
    text = schedule.units(IDENTITY, "daily", {})["cslr-backup-dev.service"]
    assert "Type=oneshot" in text
    assert text.index(" backup -s dev") < text.index(" backup prune --yes -s dev")


def test_host_without_systemd_is_told_what_cron_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(systemd, "RUNNING", tmp_path / "none")
    monkeypatch.setattr(schedule, "FOLDER", Path("/srv/100% ours"))
    with pytest.raises(WsError, match="not run by systemd") as refused:
        schedule.refuse_other_hosts(IDENTITY, {"HOME": "/root"})
    ws = r"HOME=/root '/srv/100\% ours/bin/ws' backup"
    assert str(refused.value).endswith(f"    30 2 * * * {ws} -s dev && {ws} prune --yes -s dev")


def test_host_with_systemd_is_taken(monkeypatch, tmp_path):
    monkeypatch.setattr(systemd, "RUNNING", tmp_path)
    schedule.refuse_other_hosts(IDENTITY, {})


@pytest.mark.parametrize("runs", [True, False])
def test_how_docker_is_started_is_decided_by_the_same(monkeypatch, tmp_path, runs):
    monkeypatch.setattr(systemd, "RUNNING", tmp_path if runs else tmp_path / "none")
    monkeypatch.setattr(docker, "answers", lambda: False)
    assert docker.DockerFacts.probe().systemd is runs
