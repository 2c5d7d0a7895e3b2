"""The workflows: they ask of `ws` only what it knows, and no text of a stranger's becomes part of a program."""

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from testing.harness import PROJECT
from testing.lanes import LANES
from ws import cli

WORKFLOWS = sorted((PROJECT / ".github/workflows").glob("*.yml"))
IMAGES = PROJECT / ".github/workflows/images.yml"
SCRIPT = PROJECT / ".ci/images"
CHECKS = PROJECT / ".ci/run"
OPTION = re.compile(r"--[a-z][a-z-]*")
EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
# What others write: the inputs of a run, and nearly all that an event tells.
FOREIGN = re.compile(r"\b(inputs|secrets|vars|github\.(event|head_ref|ref_name))\b")
# The log of the stand-ins for make and Python, in place of what they would do.
STAND_IN = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0") $*" >>"$CALLS"\ncase "$*" in *"$FAILING"*) exit 1;; esac\n'


def workflow(path: Path) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def options_of(command: str) -> set[str]:
    """The options that ``ws COMMAND`` takes."""
    group = typer.main.get_command(cli.app)
    return {option for parameter in group.commands[command].params for option in parameter.opts}  # type: ignore[attr-defined]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def path(request):
    return request.param


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


class TestWorkflow:
    def test_puts_no_foreign_text_into_a_program(self, path):
        """Passed in the environment it is data, whatever it holds; spliced into a shell it is code."""
        spliced = [
            expression
            for step in steps(path)
            for expression in EXPRESSION.findall(step.get("run", ""))
            if FOREIGN.search(expression)
        ]
        assert spliced == []

    def test_names_the_rights_that_it_has(self, path):
        assert workflow(path)["permissions"]

    def test_bounds_every_job(self, path):
        assert all(job["timeout-minutes"] for job in workflow(path)["jobs"].values())


class TestImages:
    @pytest.fixture
    def triggers(self):
        return workflow(IMAGES)[True]  # YAML 1.1 reads `on` so

    def test_are_built_three_times_a_week(self, triggers):
        assert [entry["cron"].split()[4] for entry in triggers["schedule"]] == ["1,3,5"]

    def test_are_built_when_they_change(self, triggers):
        assert "images/**" in triggers["pull_request"]["paths"]

    def test_every_filter_of_a_run_by_hand_reaches_the_script(self, triggers):
        (environment,) = [step["env"] for step in steps(IMAGES) if ".ci/images" in step.get("run", "")]
        passed = " ".join(map(str, environment.values()))
        filters = triggers["workflow_dispatch"]["inputs"].keys() - {"runner"}
        assert {name for name in filters if f"inputs.{name}" in passed} == filters
        assert all(name in SCRIPT.read_text() for name in environment if not name.startswith("CSLR_"))

    def test_a_failure_is_tried_once_more(self):
        again = workflow(PROJECT / ".github/workflows/images-again.yml")
        assert again[True]["workflow_run"]["workflows"] == [workflow(IMAGES)["name"]]
        assert "run_attempt < 2" in again["jobs"]["again"]["if"]
        assert again["permissions"] == {"actions": "write"}


class TestChecks:
    def test_install_nothing_but_make_which_installs_the_rest(self):
        """Else a machine of somebody who runs `make test` lacks what the one of CI has."""
        installed = re.findall(r"apt-get install ([^>|&\n]+)", CHECKS.read_text())
        assert [[word for word in words.split() if not word.startswith("-")] for words in installed] == [["make"]]
        assert "make test" in CHECKS.read_text()

    def test_can_be_executed(self):
        assert CHECKS.stat().st_mode & stat.S_IXUSR

    def test_run_every_lane_on_a_machine_of_its_own(self):
        jobs = workflow(PROJECT / ".github/workflows/checks.yml")["jobs"]
        assert any(step.get("run") == "make check" for step in jobs["check"]["steps"])
        assert {*jobs["lane"]["strategy"]["matrix"]["lane"], "unit"} == set(LANES)

    def test_environments_are_cached_by_all_that_decides_what_is_in_them(self):
        caches = [
            step["with"] for step in steps(PROJECT / ".github/workflows/checks.yml") if "cache@" in step.get("uses", "")
        ]
        assert [cache["path"] for cache in caches] == [".venv", ".venv"]
        assert all("requirements*.txt" in cache["key"] and "python-version" in cache["key"] for cache in caches)


class TestMake:
    @pytest.mark.parametrize(
        "target", ["check", "coverage", "lint", "test", *(f"test-{lane}" for lane in LANES if lane != "unit")]
    )
    def test_knows_what_the_documents_name(self, target):
        assert re.search(rf"^[a-z -]*\b{target}\b[a-z -]*:", (PROJECT / "Makefile").read_text(), re.MULTILINE)


class TestHooks:
    def test_call_the_locked_tools(self):
        (repository,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
        assert repository["repo"] == "local"
        assert all(hook["entry"].startswith(".venv/bin/") for hook in repository["hooks"])


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
