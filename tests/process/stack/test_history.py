"""A run that is killed, and two that begin at once."""

import os
import signal
import subprocess
import sys
import threading

from stack.history import History, Outcome
from stack.identity import StackIdentity
from testing.harness import PROJECT

BEGINS = """
import os, sys, time
from stack.history import History, Record
from stack.identity import StackIdentity

record = Record(
    operation="up", engine="embedded", who="anna", started=time.time(), version="0.2.0", process=os.getpid()
)
print(History(StackIdentity(project="cslr", stack="dev")).begin(record).number, flush=True)
sys.stdin.read()
"""


def begun() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGINS],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_killed_run_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    history = History(StackIdentity(project="cslr", stack="dev"))
    with begun() as process:
        assert first_line(process) == "1"
        assert history.records()[0].outcome is Outcome.RUNNING
        process.send_signal(signal.SIGKILL)
    assert history.records()[0].outcome is Outcome.INTERRUPTED


def test_runs_that_begin_at_once_have_numbers_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    numbers: list[str] = []

    def run() -> None:
        with begun() as process:
            numbers.append(first_line(process))
            process.kill()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == ["1", "2", "3", "4"]
