"""Supervision of Ray's processes: none of them is left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from entrypoints.ray import supervision
from testing.harness import PROJECT

ROOT = PROJECT


def supervise(script: str, end: str = "None", *, can_drain: bool = True) -> subprocess.Popen[str]:
    """Run ``supervise`` on a shell script, stopped by SIGTERM, in a process of its own."""
    program = (
        "import signal, subprocess, sys; from entrypoints.ray.supervision import End, Stop, adopt_orphans, supervise;"
        "stop = Stop();"
        "signal.signal(signal.SIGTERM, stop.set); print('ready', flush=True);"
        f"adopt_orphans(); process = subprocess.Popen(['sh', '-c', {script!r}], start_new_session=True);"
        f"sys.exit(supervise(process, stop, lambda: {end}, 0.1, lambda: {can_drain}))"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.fixture
def raylet(tmp_path):
    """A `sleep` that is called raylet: the name of a process, as the kernel has it, is that of its program."""
    (tmp_path / "raylet").symlink_to("/bin/sleep")
    return tmp_path / "raylet"


class TestSupervision:
    def test_the_exit_code_of_ray_is_passed_on(self):
        assert supervise("exit 7").wait(10) == 7

    def test_a_ray_that_ends_by_itself_is_a_failure(self):
        assert supervise("exit 0").wait(10) == 1

    def test_a_stop_is_clean_and_leaves_no_process_behind(self, tmp_path):
        # One grandchild hides in a session of its own and ignores SIGTERM; Ray's exit code after SIGTERM is 1.
        hidden = f"trap '' TERM; echo $$ > {tmp_path}/pid; while true; do sleep 0.1; done"
        node = supervise(f'trap "exit 1" TERM; setsid sh -c "{hidden.replace("$", chr(92) + "$")}" & sleep 60 & wait')
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        node.send_signal(signal.SIGTERM)
        assert node.wait(20) == 0
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()

    @pytest.mark.parametrize("at_once", [False, True])
    def test_a_reason_to_end_ends_it_with_a_drain_or_at_once(self, at_once):
        script = "trap 'echo drained; exit 3' TERM; while true; do sleep 0.1; done"
        node = supervise(script, end=f"End('another node is head now', {at_once})")
        output = node.communicate(timeout=10)[0]
        assert node.returncode == 1
        assert "another node is head now: stopping" in output
        assert ("drained" in output) is not at_once

    def test_the_end_of_the_raylet_ends_it_without_a_drain(self, raylet):
        # SIGTERM would begin one that does not end before this test does.
        node = supervise(f"trap 'sleep 60' TERM; {raylet} 1; while true; do sleep 0.1; done")
        output = node.communicate(timeout=20)[0]
        assert node.returncode == 1
        assert "this node's raylet has ended: stopping" in output

    def test_after_the_end_of_the_raylet_ray_has_its_last_words(self, raylet):
        node = supervise(f"{raylet} 1; sleep 1; echo the raylet was killed; exit 7")
        output = node.communicate(timeout=20)[0]
        assert node.returncode == 7
        assert "the raylet was killed\n" in output

    def test_a_stop_after_the_end_of_the_raylet_waits_for_nothing(self, raylet, tmp_path):
        node = supervise(f"trap 'sleep 60' TERM; {raylet} 1; touch {tmp_path}/ended; while true; do sleep 0.1; done")
        while not (tmp_path / "ended").exists():
            time.sleep(0.05)
        node.send_signal(signal.SIGTERM)
        assert node.wait(10) == 0

    def test_without_a_head_a_stop_waits_for_no_drain(self):
        node = supervise("trap 'sleep 60' TERM; while true; do sleep 0.1; done", can_drain=False)
        assert node.stdout
        assert node.stdout.readline() == "ready\n"
        node.send_signal(signal.SIGTERM)
        output = node.communicate(timeout=15)[0]
        assert node.returncode == 0
        assert "nothing can be drained" in output

    def test_the_spared_are_not_ended(self):
        program = (
            "import subprocess; from entrypoints.ray.supervision import descendants, end_descendants; import os;"
            "spared, other = (subprocess.Popen(['sleep', '60']) for _ in range(2));"
            "end_descendants(spared={spared.pid}); print(descendants(os.getpid()) == [spared.pid]); spared.kill()"
        )
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
        )
        assert ended.stdout == "True\n"


class TestStop:
    @pytest.mark.timeout(60, method="thread")  # the other method is the signal that this test needs
    def test_it_can_be_set_by_a_signal_that_interrupts_the_waiting(self):
        stop = supervision.Stop()
        former = signal.signal(signal.SIGALRM, stop.set)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            began = time.monotonic()
            assert stop.wait(20)
            assert time.monotonic() - began < 10
            assert stop.wait(20)
            assert stop.is_set()
        finally:
            signal.signal(signal.SIGALRM, former)

    def test_without_one_the_waiting_ends_by_itself(self):
        assert not supervision.Stop().wait(0.01)
