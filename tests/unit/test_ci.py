"""The CI workflows: they use existing `ws` commands and options, and run no untrusted text as code."""

import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.harness import PROJECT
from testing.lanes import LANES

WORKFLOWS = sorted((PROJECT / ".github/workflows").glob("*.yml"))
IMAGES = PROJECT / ".github/workflows/images.yml"
SCRIPT = PROJECT / ".ci/images"
CHECKS = PROJECT / ".ci/run"
EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
# What others write: the inputs of a run, and nearly all that an event tells.
FOREIGN = re.compile(r"\b(inputs|secrets|vars|github\.(event|head_ref|ref_name))\b")


def workflow(path: Path) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text()))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def path(request):
    return request.param


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
        """Otherwise a contributor's machine lacks what CI's has."""
        installed = re.findall(r"apt-get install ([^>|&\n]+)", CHECKS.read_text())
        assert [[word for word in words.split() if not word.startswith("-")] for words in installed] == [["make"]]
        assert "make test" in CHECKS.read_text()

    def test_can_be_executed(self):
        assert CHECKS.stat().st_mode & stat.S_IXUSR

    def test_run_every_lane_on_a_machine_of_its_own(self):
        jobs = workflow(PROJECT / ".github/workflows/checks.yml")["jobs"]
        assert any(step.get("run") == "make check" for step in jobs["check"]["steps"])
        assert {*jobs["lane"]["strategy"]["matrix"]["lane"], "unit"} == {
            name for name, lane in LANES.items() if lane.unasked
        }

    def test_environments_are_cached_by_all_that_decides_what_is_in_them(self):
        caches = [
            step["with"] for step in steps(PROJECT / ".github/workflows/checks.yml") if "cache@" in step.get("uses", "")
        ]
        assert [cache["path"] for cache in caches] == [".venv", ".venv"]
        assert all("requirements*.txt" in cache["key"] and "python-version" in cache["key"] for cache in caches)


class TestActions:
    """What CI takes from others: a tag can come to mean another commit."""

    PINNED = r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+(;.*)?"
    WORKFLOWS = tuple(PROJECT / ".github/workflows" / name for name in ("checks.yml", "images.yml", "audit.yml"))

    def test_are_pinned_by_commit_beside_the_version_for_people(self):
        used = [
            line
            for path in (PROJECT / ".github/workflows").glob("*.yml")
            for line in re.findall(r"uses: (.*)", path.read_text())
        ]
        assert used
        assert [line for line in used if not re.fullmatch(self.PINNED, line)] == []

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_leave_no_credentials_in_the_checkout(self, path):
        checkouts = [step["with"] for step in steps(path) if "checkout@" in step.get("uses", "")]
        assert checkouts
        assert all(given["persist-credentials"] is False for given in checkouts)

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_may_only_read_the_repository(self, path):
        assert workflow(path)["permissions"] == {"contents": "read"}


class TestMake:
    @pytest.mark.parametrize(
        "target",
        [
            "audit",
            "check",
            "coverage",
            "lint",
            "lock",
            "lock-check",
            "test",
            *(f"test-{lane}" for lane in LANES if lane != "unit"),
        ],
    )
    def test_knows_what_the_documents_name(self, target):
        assert re.search(rf"^[a-z -]*\b{target}\b[a-z -]*:", (PROJECT / "Makefile").read_text(), re.MULTILINE)


class TestHooks:
    def test_call_the_locked_tools(self):
        (repository,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
        assert repository["repo"] == "local"
        assert all(hook["entry"].startswith(".venv/bin/") for hook in repository["hooks"])


class TestImportRules:
    def test_every_package_has_its_place(self):
        rules = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
        packages = {file.parent.name for file in PROJECT.glob("*/__init__.py")} - {"tests"}
        assert set(rules["root_packages"]) == packages


class TestGitLab:
    @pytest.fixture
    def jobs(self):
        found = workflow(PROJECT / ".gitlab-ci.yml")
        return {name: job for name, job in found.items() if isinstance(job, dict) and "script" in job}

    def test_has_the_checks_and_the_images_of_the_other_workflows(self, jobs):
        assert jobs["checks"]["script"] == ["make check"]
        assert ".ci/images" in jobs["images"]["script"][0]

    def test_locks_again_as_the_other_workflow_does(self, jobs):
        other = workflow(PROJECT / ".github/workflows/audit.yml")
        assert jobs["locks"]["script"] == [other["jobs"]["locks"]["steps"][-1]["run"]] == ["make lock-check"]

    def test_asks_for_advisories_on_schedule_as_the_other_workflow_does(self, jobs):
        other = workflow(PROJECT / ".github/workflows/audit.yml")
        assert jobs["audit"]["script"] == [other["jobs"]["audit"]["steps"][-1]["run"]] == ["make audit"]
        assert other[True]["schedule"]
        assert any("schedule" in rule["if"] for rule in jobs["audit"]["rules"])

    def test_every_job_is_bounded_and_in_a_known_stage(self, jobs):
        stages = workflow(PROJECT / ".gitlab-ci.yml")["stages"]
        assert all(job["timeout"] and job["stage"] in stages for job in jobs.values())

    def test_images_are_built_with_docker_in_docker(self, jobs):
        images = jobs["images"]
        assert [service["name"] for service in images["services"]] == ["docker:24-dind"]
        assert images["variables"]["DOCKER_HOST"] == "tcp://docker:2375"

    def test_a_merge_request_pushes_nothing(self, jobs):
        (rule,) = [rule for rule in jobs["images"]["rules"] if "merge_request" in rule["if"]]
        assert rule["variables"] == {"MINIMAL": "true", "PUSH": "false"}

    def test_the_registrys_password_does_not_outlive_the_job(self, jobs):
        assert "rm -rf" in jobs["images"]["after_script"][0]
