"""The agent's building blocks, without Ray: files on disk, lock, watchdog, health check."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from config.ports import HOST_RAY_PORTS
from contracts.document import SETTINGS_VARIABLE
from contracts.ray_node import AgentSettings, GuardSettings, NodeConfig
from contracts.redis import RedisAccess
from coordination.election import Phase
from coordination.lease import DEADLINE_SECONDS, TTL_SECONDS, Grant, boottime
from coordination.redis_client import Address
from coordination.redis_users import AGENT
from entrypoints.ray import agent as head_agent
from entrypoints.ray.agent import (
    HeadProcess,
    accepts,
    election_config,
    write_status,
)
from entrypoints.ray.epoch_store import EpochStore, lock
from entrypoints.ray.watchdog import WATCH_SECONDS, WATCHDOG_GRACE, Heartbeat, failure_of_agent
from testing.harness import PROJECT

REDIS, OTHER_REDIS = Address("10.0.0.3", 6381), Address("10.0.0.2", 6382)
SETTINGS = AgentSettings(
    node=NodeConfig(name="alpha-ray-head", host="alpha", address="10.0.0.1", ports=HOST_RAY_PORTS["ray-head"]),
    guard=GuardSettings(service="ray-head"),
    redis=RedisAccess(
        addresses=(str(REDIS), str(OTHER_REDIS)),
        user=AGENT,
        password_file=Path("/run/secrets/redis-agent"),
        namespace="cslr-lab",
    ),
    candidates=("alpha", "beta"),
    state_folder=Path("/var/lib/cslr"),
)


class TestSettings:
    def test_a_whitelisted_host_takes_part(self):
        config = election_config(SETTINGS)
        assert config is not None
        assert (config.host, config.candidates) == ("alpha", ("alpha", "beta"))

    def test_what_is_missing_is_named(self, monkeypatch, capsys):
        monkeypatch.setenv(SETTINGS_VARIABLE, "{}")
        assert head_agent.main([]) == 1
        assert capsys.readouterr().out == "[ray-head] error: CSLR_SETTINGS: AgentSettings: missing field 'node'\n"

    def test_a_host_off_the_whitelist_does_not(self):
        assert election_config(replace(SETTINGS, node=replace(SETTINGS.node, host="gamma"))) is None

    @pytest.mark.parametrize(("head", "candidates"), [("10.0.0.1:6385", ("alpha",)), ("10.0.0.2:6385", None)])
    def test_with_a_static_head_only_that_host_does(self, head, candidates):
        config = election_config(replace(SETTINGS, static_head=head))
        assert (config and config.candidates) == candidates


class TestLock:
    def test_a_host_has_one_agent(self, tmp_path):
        first = lock(tmp_path)
        assert first is not None
        assert lock(tmp_path) is None
        os.close(first)
        assert lock(tmp_path) is not None

    def test_the_head_does_not_keep_it(self, tmp_path):
        first = lock(tmp_path)
        assert first is not None
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
        try:
            os.close(first)
            assert lock(tmp_path) is not None
        finally:
            child.kill()
            child.wait()


class TestKnownEpoch:
    def test_it_lasts_and_never_falls(self, tmp_path):
        assert EpochStore(tmp_path).epoch == 0
        epoch_store = EpochStore(tmp_path)
        epoch_store.note(7, "a")
        epoch_store.note(5, "a")
        assert (EpochStore(tmp_path).epoch, EpochStore(tmp_path).incarnation) == (7, "a")

    def test_lost_data_is_said_loudly_and_the_epoch_kept(self, tmp_path, capsys):
        EpochStore(tmp_path).note(7, "a")
        assert capsys.readouterr().out == ""
        EpochStore(tmp_path).note(1, "b")
        assert "Redis has lost its data" in capsys.readouterr().out
        assert (EpochStore(tmp_path).epoch, EpochStore(tmp_path).incarnation) == (7, "b")

    def test_a_disk_that_takes_nothing_stops_nobody_and_is_said(self, tmp_path, capsys):
        epoch_store = EpochStore(tmp_path / "gone")
        epoch_store.note(7, "a")
        assert (epoch_store.epoch, epoch_store.incarnation) == (7, "a")
        assert "WARNING: epoch 7 cannot be kept in " in capsys.readouterr().out

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"epoch": "x"}'])
    def test_a_broken_file_is_none(self, tmp_path, text):
        (tmp_path / "epoch.json").write_text(text)
        assert EpochStore(tmp_path).epoch == 0


class TestWatchdog:
    def test_who_is_well_is_left_alone(self):
        assert failure_of_agent(now=100.0, beat=99.9, kill_at=103.0) == ""
        assert failure_of_agent(now=100.0, beat=99.9, kill_at=0.0) == ""
        assert failure_of_agent(now=100.0, beat=0.0, kill_at=0.0) == ""

    def test_a_passed_deadline_or_a_long_silence_is_a_failure(self):
        assert "deadline" in failure_of_agent(now=100.0, beat=99.9, kill_at=98.0)
        assert "hung" in failure_of_agent(now=100.0, beat=60.0, kill_at=0.0)

    def test_it_acts_before_the_lease_ends(self):
        assert DEADLINE_SECONDS + WATCHDOG_GRACE + WATCH_SECONDS < TTL_SECONDS

    # An agent with a head, which is two processes of two sessions, and the watchdog. The deadline is set after the pids
    # are said, since on a busy machine it passes soon.
    AGENT = """
import os, subprocess, sys, time
from entrypoints.ray.watchdog import Heartbeat
from coordination.lease import boottime
from testing.harness import PROJECT
heartbeat = Heartbeat.new()
command = [sys.executable, "-m", "entrypoints.ray.agent", "watchdog", str(heartbeat.descriptor)]
watchdog = subprocess.Popen(command, pass_fds=(heartbeat.descriptor,))
ignored = 0
while not ignored & 1 << 14:  # it ignores SIGTERM as soon as it watches
    status = open(f"/proc/{watchdog.pid}/status").read()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
command = ["sh", "-c", "setsid sleep 600 & echo $!; sleep 600"]
head = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
print(head.stdout.readline(), head.pid, sep="", flush=True)
heartbeat.beat(boottime() + float(sys.argv[1]))
print(watchdog.pid, flush=True)  # the deadline is set
time.sleep(600)
"""

    @pytest.fixture
    def start(self):
        started = []

        def start(deadline: float) -> tuple[subprocess.Popen[str], list[int], int]:
            agent = subprocess.Popen(
                [sys.executable, "-c", self.AGENT, str(deadline)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
            )
            assert agent.stdout
            pids = [int(agent.stdout.readline()) for _ in range(2)]
            watchdog = int(agent.stdout.readline())
            started.append((agent, pids))
            return agent, pids, watchdog

        yield start
        for agent, pids in started:
            agent.kill()
            agent.wait()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def test_a_frozen_agent_is_killed_with_its_head(self, start):
        agent, pids, _ = start(0.5)
        agent.send_signal(signal.SIGSTOP)
        assert agent.wait(30) == -signal.SIGKILL
        wait_until_gone(pids)

    def test_the_head_of_an_agent_that_was_killed_is_killed(self, start):
        agent, pids, watchdog = start(600.0)
        wait_until_it_looked(watchdog)
        agent.kill()
        agent.wait()
        wait_until_gone(pids)


def wait_until_it_looked(watchdog: int) -> None:
    """The watchdog sleeps once after each look: when it slept several times, it has seen what was there."""
    looked, deadline = naps(watchdog) + 5, time.monotonic() + 30
    while naps(watchdog) < looked:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def naps(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestPulse:
    def test_what_one_writes_the_other_reads(self):
        heartbeat = Heartbeat.new()
        heartbeat.beat(5.0)
        beat, kill_at = Heartbeat(heartbeat.descriptor).read()
        assert kill_at == 5.0
        assert 0 <= boottime() - beat < 10


class TestHead:
    def test_the_end_of_its_gcs_is_noticed(self, tmp_path):
        # The name of a process, as the kernel has it, is that of its program.
        program = tmp_path / "gcs_server"
        program.symlink_to("/bin/sleep")
        process = subprocess.Popen(["sh", "-c", f"{program} 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        gcs = int(process.stdout.readline())
        head = HeadProcess(process.pid, REDIS)
        try:
            deadline = time.monotonic() + 10
            while not head.gcs.find():
                assert time.monotonic() < deadline
            assert not head.reason_to_end({}, REDIS)
        finally:
            os.kill(gcs, signal.SIGKILL)
            process.wait()
        assert head.reason_to_end({}, REDIS) == "its GCS has ended"
        head.forget()
        assert head.cancelled.is_set()

    def test_the_end_of_its_first_process_is_one(self):
        assert HeadProcess(1, REDIS).reason_to_end({1: 7}, REDIS) == "exit code 7"

    def test_another_primary_ends_it_and_an_unknown_one_does_not(self):
        # Of a Redis without power the GCS hears nothing, and waits.
        head = HeadProcess(os.getpid(), REDIS)
        assert not head.reason_to_end({}, None)
        assert str(OTHER_REDIS) in head.reason_to_end({}, OTHER_REDIS)

    def test_an_open_port_accepts_and_a_closed_one_does_not(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = Address("127.0.0.1", server.getsockname()[1])
            assert accepts(address)
        assert not accepts(address)


class TestHealth:
    @pytest.fixture(autouse=True)
    def status(self, tmp_path, monkeypatch):
        path = tmp_path / "status.json"
        monkeypatch.setattr(head_agent, "status_file", lambda: path)
        monkeypatch.setattr(head_agent, "_written", head_agent._Status())
        return path

    def test_it_is_well_while_the_loop_turns_leading_or_not(self, capsys):
        write_status(Phase.STANDBY, None, "beta leads in epoch 4")
        assert head_agent.main(["health"]) == 0
        assert capsys.readouterr().out == "standby: beta leads in epoch 4\n"
        write_status(Phase.LEADING, Grant("alpha", "i", 5, "a"), "")
        assert head_agent.main(["health"]) == 0
        assert capsys.readouterr().out == "leading in epoch 5\n"

    def test_a_loop_that_hangs_is_not(self, status, capsys):
        write_status(Phase.STANDBY, None, "")
        status.write_text(json.dumps({"time": boottime() - 60, "text": "standby"}))
        assert head_agent.main(["health"]) == 1
        assert "hung for 60 s" in capsys.readouterr().out

    def test_a_disk_that_takes_nothing_ends_no_agent(self, status):
        status.parent.rename(status.parent.with_name("elsewhere"))
        write_status(Phase.STANDBY, None, "")
        assert not status.exists()

    def test_nor_is_one_that_has_not_begun(self, capsys):
        assert head_agent.main(["health"]) == 1
        assert "does not take part" in capsys.readouterr().out

    def test_an_unknown_subcommand_is_refused(self, capsys):
        assert head_agent.main(["nonsense"]) == 2
        assert "use run, health" in capsys.readouterr().out
