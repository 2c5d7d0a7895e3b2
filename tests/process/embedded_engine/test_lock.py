"""Two runs on one stack exclude each other, and a finished run never blocks another."""

import os
import re
import signal
import subprocess
import sys

import pytest

from embedded_engine.lock import LockedError, stack_lock
from testing.harness import PROJECT

HOLDER = """
import sys, time
from pathlib import Path
from embedded_engine.lock import stack_lock
from testing.harness import PROJECT
with stack_lock(Path(sys.argv[1]), "dev"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


class TestLock:
    def test_keeps_a_second_run_out_and_names_the_first(self, holder, tmp_path):
        with pytest.raises(LockedError) as caught, stack_lock(tmp_path, "dev"):
            pass
        said = rf"another run works on stack dev \(process {holder.pid} since \d\d:\d\d:\d\d\)\."
        assert re.match(said, str(caught.value))
        assert "Wait until it has ended" in str(caught.value)

    def test_falls_with_a_run_that_is_killed(self, holder, tmp_path):
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with stack_lock(tmp_path, "dev"):
            assert str(os.getpid()) in (tmp_path / "lock").read_text()

    def test_falls_with_a_run_that_fails(self, tmp_path):
        with pytest.raises(ZeroDivisionError), stack_lock(tmp_path, "dev"):
            raise ZeroDivisionError
        with stack_lock(tmp_path, "dev"):
            pass

    def test_of_another_stack_is_another(self, holder, tmp_path):
        with stack_lock(tmp_path / "gpu", "gpu"):
            pass

    def test_is_not_kept_up_by_a_command_that_outlives_the_run(self, tmp_path):
        with stack_lock(tmp_path, "dev"):
            left = subprocess.Popen(["/bin/sleep", "60"])
        try:
            with stack_lock(tmp_path, "dev"):
                pass
        finally:
            left.kill()
            left.wait()
