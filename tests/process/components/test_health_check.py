"""The shell of every health check: when it waits, and what it says."""

import subprocess
from pathlib import Path

import pytest

from components.docker import CALM_SECONDS, STATE_TARGET, Healthcheck

SLEPT = "slept "


class Checked:
    """A container's health check, run here: the state folder is the test's, and `sleep` only says that it slept."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.state.mkdir()
        self.programs = folder / "bin"
        self.programs.mkdir()
        sleep = self.programs / "sleep"
        sleep.write_text(f"#!/bin/sh\necho '{SLEPT}'$1\n")
        sleep.chmod(0o755)

    def run(self, *command: str, timeout: int = 5) -> tuple[int, str]:
        """The exit status and the output."""
        words = Healthcheck(command=command, timeout=timeout).words
        done = subprocess.run(
            [word.replace(STATE_TARGET, str(self.state)) for word in words],
            env={"PATH": f"{self.programs}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def checked(tmp_path) -> Checked:
    return Checked(tmp_path)


def test_first_check_does_not_wait(checked):
    assert checked.run("echo", "fine") == (0, "fine\n")


def test_checks_after_a_success_wait(checked):
    checked.run("true")
    assert checked.run("echo", "fine") == (0, f"{SLEPT}{CALM_SECONDS}\nfine\n")
    assert checked.run("echo", "fine") == (0, f"{SLEPT}{CALM_SECONDS}\nfine\n")


def test_checks_after_a_failure_do_not_wait(checked):
    checked.run("true")
    assert checked.run("sh", "-c", "echo broken; exit 3") == (1, f"{SLEPT}{CALM_SECONDS}\nbroken\n")
    assert checked.run("sh", "-c", "echo broken; exit 3") == (1, "broken\n")
    assert checked.run("echo", "fine") == (0, "fine\n")


def test_check_after_one_that_was_killed_while_it_waited_does_not_wait(checked):
    checked.run("true")
    (checked.programs / "sleep").write_text("#!/bin/sh\nkill -9 $PPID\n")
    assert checked.run("echo", "fine") == (-9, "")
    assert checked.run("echo", "fine") == (0, "fine\n")


def test_a_check_that_hangs_fails_and_says_so(checked):
    assert checked.run("/usr/bin/sleep", "30", timeout=1) == (1, "no answer within 1 s\n")


def test_docker_gives_it_the_time_to_wait_and_to_check():
    seconds = Healthcheck(command=("true",), timeout=5).declare().timeout
    assert seconds == f"{CALM_SECONDS + 10}s"
