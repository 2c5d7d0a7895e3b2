"""How a command ends when it is told to, or loses its terminal: what it has begun is put in order."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from testing.harness import PROJECT
from testing.live.deployment import wait_until

COMMAND = """
import sys, time
from pathlib import Path
import typer
from ws.running import run

folder = Path(sys.argv[1])
app = typer.Typer()

@app.command()
def work() -> None:
    try:
        (folder / "began").touch()
        for _ in range(600):
            print("at work", flush=True)
            time.sleep(0.1)
    finally:
        print("putting in order", flush=True)
        (folder / "cleaning").touch()
        time.sleep(0.5)
        (folder / "in-order").touch()

code = run(app, [])
(folder / "code").write_text(str(code))
"""


@pytest.fixture
def terminal(tmp_path: Path) -> tuple[int, int]:
    """A terminal with a command that is at work: its other end, and the process that leads its session."""
    child, end = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
        os.chdir(PROJECT)
        os.execv(sys.executable, [sys.executable, "-c", COMMAND, str(tmp_path)])
    wait_until((tmp_path / "began").exists, "the command begins")
    return end, child


def ended_in_order(child: int, folder: Path) -> bool:
    os.waitpid(child, 0)
    return (folder / "in-order").exists() and (folder / "code").read_text() == "130"


def test_a_lost_terminal_ends_it_in_order(terminal, tmp_path):
    end, child = terminal
    os.close(end)
    assert ended_in_order(child, tmp_path)


def test_a_terminal_may_say_so_more_than_once(terminal, tmp_path):
    """The shell tells its jobs, and the kernel all that the terminal had in the foreground."""
    end, child = terminal
    os.kill(child, signal.SIGHUP)
    wait_until((tmp_path / "cleaning").exists, "the command puts in order")
    os.close(end)
    assert ended_in_order(child, tmp_path)


def test_sigterm_ends_it_in_order(terminal, tmp_path):
    end, child = terminal
    os.kill(child, signal.SIGTERM)
    assert ended_in_order(child, tmp_path)
    os.close(end)


def test_under_nohup_it_goes_on(tmp_path):
    command = ["nohup", sys.executable, "-c", COMMAND, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until((tmp_path / "began").exists, "the command begins")
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert not (tmp_path / "in-order").exists()
        process.terminate()
    assert (tmp_path / "code").read_text() == "130"
