"""`make test` before and after the tests: it installs or stops with one sentence, and counts skips by their reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from testing import programs as needs
from testing.harness import PROJECT
from ws.errors import WsError
from ws.setup import apt, docker, programs
from ws.setup.docker import DockerFacts
from ws.setup.programs import Program

ABSENT = Program(name="absent", packages=("absent-tools",))
OTHER = Program(name="other", packages=("other-tools",))


@pytest.fixture
def steps(monkeypatch):
    """A Debian host where this is root, without Docker and any program. What is done, in its order."""
    done: list[str] = []
    monkeypatch.setattr(apt, "is_debian", lambda: True)
    monkeypatch.setattr(programs, "may_install", lambda: True)
    monkeypatch.setattr(programs, "missing", tuple)
    monkeypatch.setattr(programs, "ensure", lambda wanted, say: done.append(" ".join(one.name for one in wanted)))
    monkeypatch.setattr(DockerFacts, "probe", lambda: DockerFacts(debian=True, root=True))
    monkeypatch.setattr(docker, "ensure", lambda say: done.append("Docker"))
    monkeypatch.setattr(docker, "ensure_debootstrap", lambda say: done.append("debootstrap"))
    return done


def run(folder: Path, test: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Pytest on one file, with the project's plugins and a host where nothing may be installed."""
    (folder / "test_it.py").write_text(test)
    (folder / "conftest.py").write_text(
        "from testing import programs as needs\n"
        "from ws.setup import apt, programs\n"
        "from ws.setup.programs import Program\n"
        "programs.may_install = lambda: False\n"
        "apt.is_debian = lambda: True\n"
        "for program in list(needs.PROGRAMS):\n"
        "    needs.PROGRAMS[program] = Program(name=f'no-{program}', packages=(f'{program}-package',))\n"
    )
    plugins = ("-p", "testing.programs", "-p", "testing.skips", "-p", "no:cacheprovider", "--rootdir", str(folder))
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *arguments, str(folder)],
        cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


class TestSetUp:
    def test_tests_without_docker_leave_it_alone(self, steps):
        needs.set_up([ABSENT], engine=False, say=print)
        assert steps == ["absent"]

    def test_docker_runs_before_anything_is_installed_beside_it(self, steps):
        """A package that may not start its service would leave Docker installed and stopped."""
        needs.set_up([ABSENT, OTHER], engine=True, say=print)
        assert steps == ["Docker", "debootstrap", "absent other"]

    def test_who_may_not_install_is_told_everything_at_once(self, steps, monkeypatch):
        monkeypatch.setattr(programs, "may_install", lambda: False)
        with pytest.raises(WsError) as refused:
            needs.set_up([ABSENT, OTHER], engine=True, say=print)
        assert str(refused.value).startswith("this needs dockerd, absent, other:")
        assert "docker.io" in str(refused.value)
        assert "absent-tools other-tools" in str(refused.value)
        assert steps == []

    def test_a_docker_that_answers_needs_no_daemon_here(self, steps, monkeypatch):
        monkeypatch.setattr(programs, "may_install", lambda: False)
        monkeypatch.setattr(DockerFacts, "probe", lambda: DockerFacts(answers=True, debian=True))
        monkeypatch.setattr(programs, "missing", lambda wanted: ())
        needs.set_up([], engine=True, say=print)
        assert steps == ["Docker", "debootstrap", ""]


class TestRun:
    def test_stops_before_the_first_test_where_something_is_missing(self, tmp_path):
        test = "def test_one(redis_server): ...\ndef test_two(iptables): ...\ndef test_three(): ...\n"
        done = run(tmp_path, test, "--set-up")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        (line,) = (line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR"))
        assert "this needs no-redis_server, no-iptables:" in line
        assert "sudo apt-get install redis_server-package iptables-package" in line
        assert "passed" not in done.stdout

    def test_asks_for_nothing_that_the_chosen_tests_do_not_need(self, tmp_path):
        test = "def test_one(redis_server): ...\ndef test_two(): ...\n"
        assert "1 passed, 1 deselected" in run(tmp_path, test, "--set-up", "-k", "two").stdout

    def test_without_the_set_up_a_missing_program_is_a_failure_with_the_remedy(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        done = run(tmp_path, "def test_one(redis_server): ...\ndef test_two(): ...\n")
        assert "redis-server is missing; `make test` installs it" in done.stdout
        assert "1 passed, 1 error" in done.stdout

    def test_counts_what_was_skipped_by_its_reason(self, tmp_path):
        test = (
            "import pytest\n"
            "@pytest.mark.skipif(True, reason='needs\\n a GPU')\n"
            "@pytest.mark.parametrize('n', range(3))\n"
            "def test_one(n): ...\n"
            "def test_two(): pytest.skip('needs the genuine Pulumi')\n"
            "def test_three(): ...\n"
        )
        lines = run(tmp_path, test).stdout.splitlines()
        (start,) = (number for number, line in enumerate(lines) if " skipped: 4 " in line)
        assert lines[start + 1 : start + 3] == ["     3  needs a GPU", "     1  needs the genuine Pulumi"]

    def test_counts_a_file_that_skips_itself(self, tmp_path):
        done = run(tmp_path, "import pytest\npytest.skip('needs Ray', allow_module_level=True)\n")
        assert "     1  needs Ray" in done.stdout.splitlines()

    def test_where_nothing_was_skipped_there_is_no_table(self, tmp_path):
        assert " skipped: " not in run(tmp_path, "def test_one(): ...\n").stdout

    def test_what_takes_long_is_left_out_and_said_unless_it_was_asked_for(self, tmp_path):
        test = (
            "import pytest\n"
            "@pytest.mark.only_with('ROUNDS=50', False)\n"
            "def test_one(): ...\n"
            "@pytest.mark.only_with('FORM=long', True)\n"
            "def test_two(): ...\n"
        )
        done = run(tmp_path, test)
        assert "long tests left out: 1 (set ROUNDS=50)" in done.stdout
        assert "1 passed, 1 deselected" in done.stdout
        assert " skipped: " not in done.stdout
