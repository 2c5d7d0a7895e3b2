"""A run that is followed from another host ends in good order once nobody follows it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from embedded_engine.changes import Result
from testing.harness import PROJECT
from ws import cli, running
from ws.deploy import Session
from ws.engine_names import EngineName
from ws.engines import Choice
from ws.history.recording import Recording
from ws.rolling.follower import Follower
from ws.rolling.run import Rolling

RUN = """
import pathlib, signal, sys, time
from ws.rolling.follower import Follower

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, interrupt)
silence, done = float(sys.argv[1]), pathlib.Path(sys.argv[2])
Follower.__init__.__defaults__ = (Follower.__init__.__defaults__[0], silence)
try:
    follower = Follower.of_this_run()
    if "whole" in sys.argv:
        with follower.whole():
            print("in the middle", flush=True)
            while not follower._gone:
                time.sleep(0.01)
            print("x" * 100_000, flush=True)  # nobody reads it
            done.write_text("whole")
    print("waiting", flush=True)
    time.sleep(60)
    done.write_text("went on")
except KeyboardInterrupt:
    done.write_text(done.read_text() + ", then interrupted" if done.exists() else "interrupted")
    sys.exit(130)
"""


class Run:
    def __init__(self, folder: Path, *words: str, silence: float = 60) -> None:
        self._done = folder / "done"
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(silence), str(self._done), *words],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.process.stdout
        self.said = self.process.stdout.readline()

    def leave(self) -> None:
        """As a connection that ends: both ways at once."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdout.close()
        self.process.stdin.close()

    @property
    def end(self) -> tuple[int, str]:
        return self.process.wait(30), self._done.read_text()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Run]]:
    made: list[Run] = []
    yield made
    for run in made:
        run.process.kill()
        run.process.wait()


def test_at_once_where_nothing_is_in_work(runs, tmp_path):
    runs.append(run := Run(tmp_path))
    run.leave()
    assert run.end == (130, "interrupted")


def test_after_what_must_be_whole_although_nobody_reads_what_it_says(runs, tmp_path):
    runs.append(run := Run(tmp_path, "whole"))
    assert run.said == "in the middle\n"
    run.leave()
    assert run.end == (130, "whole, then interrupted")


def test_a_connection_that_only_falls_silent_counts_as_ended(runs, tmp_path):
    runs.append(run := Run(tmp_path, silence=0.5))
    assert run.end == (130, "interrupted")


@pytest.mark.parametrize("words", [(), ("--followed",)])
def test_a_command_is_followed_only_if_it_is_told_so(monkeypatch, tmp_path, words):
    followers: list[object] = []
    follower = SimpleNamespace(whole=partial(nullcontext))

    def made() -> SimpleNamespace:
        followers.append(follower)
        return follower

    def run(rolling: Rolling, recording: Recording) -> None:
        assert rolling.whole is (follower.whole if words else nullcontext)
        recording.result = Result(changes=[])

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setattr(Follower, "of_this_run", made)
    monkeypatch.setattr(Rolling, "run", run)
    monkeypatch.setattr(Session, "maker", EngineName.EMBEDDED)
    monkeypatch.setattr(Session, "prepare_host", lambda _: None)
    monkeypatch.setattr(Session, "choose", lambda *_: Choice(name=EngineName.EMBEDDED))
    monkeypatch.setattr(Session, "show_end", lambda *_: None)
    assert cli.main(["up", "--rolling", *words]) == running.DONE
    assert len(followers) == len(words)
