"""The reader of Ray's files as it runs in its container: nothing but its modules and a Python."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ws.logs.query import Query
from ws.logs.ray_files import FOLDER, PROGRAM, program

LINE = "[2026-11-28 03:00:0{},000 I 7 7] (raylet) main.cc:1: {}\n"


@pytest.fixture
def raylet(tmp_path: Path) -> Path:
    path = tmp_path / "scratch/ray-cpu/ray/session_1/logs/raylet.out"
    path.parent.mkdir(parents=True)
    path.write_text(LINE.format(1, "one") + LINE.format(2, "two"))
    return path


@pytest.fixture
def start(tmp_path, raylet) -> Iterator[Callable[[Query], subprocess.Popen[str]]]:
    with tarfile.open(fileobj=io.BytesIO(program())) as tar:
        tar.extractall(tmp_path, filter="data")
    started = []

    def run(query: Query) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["sh", "-c", PROGRAM, "sh", str(tmp_path / "scratch"), '{"ray-cpu": "a-ray-cpu"}', query.to_json()],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(tmp_path / FOLDER), "TZ": ""},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


class TestReader:
    def test_needs_no_other_modules(self, start):
        process = start(Query(tail=1))
        assert process.stdout is not None
        entry, summary = map(json.loads, process.stdout)
        assert (entry[1:4], entry[7][-3:]) == (["ray-cpu", "a-ray-cpu", "raylet.out"], "two")
        assert summary == {"read": {"ray-cpu": {"session_1": 1}}, "left_out": 1, "aside": 0, "problems": []}
        assert process.wait(timeout=30) == 0

    def test_follows_until_it_is_ended(self, start, raylet):
        process = start(Query(tail=0, follow=True))
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["left_out"] == 2
        with raylet.open("a") as file:
            file.write(LINE.format(3, "three"))
        assert json.loads(process.stdout.readline())[7].endswith("three")

    def test_ends_with_the_connection_to_it(self, start):
        process = start(Query(tail=0, follow=True))
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(timeout=30) == 1
