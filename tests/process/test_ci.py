"""The script that builds and tests images in CI, run with stand-ins for make and Python."""

import os
import re
import stat
import subprocess

import pytest
import typer.main

from testing.harness import PROJECT
from ws import cli

SCRIPT = PROJECT / ".ci/images"
OPTION = re.compile(r"--[a-z][a-z-]*")
# The log of the stand-ins for make and Python, in place of what they would do.
STAND_IN = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0") $*" >>"$CALLS"\ncase "$*" in *"$FAILING"*) exit 1;; esac\n'


def options_of(command: str) -> set[str]:
    """The options that ``ws COMMAND`` takes."""
    group = typer.main.get_command(cli.app)
    return {option for parameter in group.commands[command].params for option in parameter.opts}  # type: ignore[attr-defined]


@pytest.fixture
def selected(tmp_path):
    """Runs .ci/images in a copy with stand-ins for make and Python. What it calls, and its exit code."""
    folder, calls = tmp_path / "project", tmp_path / "calls"
    python = folder / ".venv/bin/python"
    script = folder / ".ci/images"
    for place, text in ((python, STAND_IN), (tmp_path / "bin/make", STAND_IN), (script, SCRIPT.read_text())):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)

    def run(failing: str = "nothing", **selection: str) -> tuple[list[str], int]:
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "CALLS": str(calls), "FAILING": failing, **selection}
        code = subprocess.run([script, tmp_path / "report"], env=environment, timeout=30, check=False).returncode
        return calls.read_text().splitlines(), code

    return run


class TestScript:
    def test_can_be_executed(self):
        assert SCRIPT.stat().st_mode & stat.S_IXUSR

    @pytest.mark.parametrize("command", ["matrix", "report"])
    def test_asks_for_options_that_there_are(self, command, selected):
        everything = {"CUDA": "1", "PYTHON": "2", "TARGET": "3", "PHASE": "4", "PLATFORM": "5"}
        flags = {"REGISTRY": "r", "PUSH": "true"}
        calls = [*selected(**everything, **flags)[0], *selected(MINIMAL="true")[0]]
        asked = {word for call in calls if f"-m ws {command} " in call for word in OPTION.findall(call)}
        assert asked
        assert asked <= options_of(command)

    def test_builds_and_tests_the_same_selection(self, selected):
        calls, code = selected(CUDA="12.* 13.1.1", TARGET="ray-*", MINIMAL="true", REGISTRY="host:5000/cslr")
        assert code == 0
        _, build, test, _ = calls
        assert build == (
            "python -m ws matrix --yes --cuda 12.* --cuda 13.1.1 --target ray-* --minimal --registry host:5000/cslr"
        )
        assert test == (
            "python -m pytest tests/images --images-present --image-cuda 12.* --image-cuda 13.1.1 --image-target ray-* "
            "--image-repository host:5000/cslr/ml"
        )

    def test_builds_everything_where_nothing_is_said(self, selected):
        assert "python -m ws matrix --yes --all" in selected()[0]

    def test_takes_no_input_for_a_program(self, selected, tmp_path):
        stranger = tmp_path / "stranger"
        calls, _ = selected(TARGET=f"$(touch {stranger}) `touch {stranger}` ;touch")
        assert not stranger.exists()
        assert "--target $(touch --target" in calls[1]

    def test_reports_also_what_failed(self, selected):
        calls, code = selected(failing="ws matrix")
        assert code == 1
        assert "-m ws report" in calls[-1]
        assert not any("-m pytest" in call for call in calls)
