"""`bin/ws` from another folder: it changes to the project's folder, and relative paths refer to the caller's."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.harness import PROJECT
from ws import cli, completion, environment, paths
from ws.logs.probes import is_probe

FOLDER = PROJECT
WS = FOLDER / "bin/ws"


def ws(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("_TYPER")}
    return subprocess.run([WS, *arguments], cwd=cwd, env=kept | environment, capture_output=True, text=True)


class TestWrapper:
    def test_has_nothing_but_wrappers_beside_it_so_that_path_gives_nobody_another_python(self):
        for_windows = {"ws.cmd", "ws.ps1", "build-matrix.ps1", "build-phase.bat"}
        assert {file.name for file in (FOLDER / "bin").iterdir()} == {"ws"} | for_windows

    def test_runs_from_any_folder_and_by_a_link(self, tmp_path):
        (tmp_path / "ws").symlink_to(WS)
        done = subprocess.run([tmp_path / "ws", "--version"], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.startswith("cslr-platform "), done.stderr
        assert "Ray 2" in done.stdout

    def test_without_its_environment_says_how_to_make_it(self, tmp_path):
        (tmp_path / "bin").mkdir()
        copy = tmp_path / "bin/ws"
        copy.write_bytes(WS.read_bytes())
        copy.chmod(0o755)
        done = subprocess.run([copy, "ps"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert f"make -C '{tmp_path}' up" in done.stderr


class TestPaths:
    @pytest.fixture(autouse=True)
    def called_from(self, tmp_path, monkeypatch):
        monkeypatch.setenv(environment.CALLED_FROM, str(tmp_path))
        monkeypatch.setattr(paths, "_folder", Path())
        for name in environment.PATHS:
            monkeypatch.setenv(name, "" if name != "PULUMI_CONFIG_PASSPHRASE_FILE" else "secret/passphrase")
        return tmp_path

    @pytest.mark.parametrize("option", ["html", "markdown", "sbom", "manifest"])
    def test_of_report_are_the_callers(self, option, called_from, monkeypatch):
        taken = []
        monkeypatch.setattr("ws.report.show", lambda *_args, files, **_rest: taken.append(getattr(files, option)))
        assert cli.main(["report", f"--{option}", "here/x"]) == 0
        assert cli.main(["report", f"--{option}", "/absolute/x"]) == 0
        assert taken == [called_from / "here/x", Path("/absolute/x")]

    def test_in_the_environment_are_the_callers(self, called_from):
        paths.stand_where_called()
        assert os.environ["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(called_from / "secret/passphrase")
        assert environment.CALLED_FROM not in os.environ

    def test_every_option_that_takes_a_path_is_one_of_the_callers(self):
        """A new one would otherwise write into the project's folder."""
        from typer.main import get_command

        def options(command: Any) -> Iterator[Any]:
            yield from command.params
            for inner in getattr(command, "commands", {}).values():
                yield from options(inner)

        found = [option for option in options(get_command(cli.app)) if option.metavar in ("FILE", "FOLDER", "PATH")]
        assert len(found) >= 4
        for option in found:
            assert option.callback is not None, option.name


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_has_a_script_for_each_shell(self, shell, tmp_path):
        done = ws(cwd=tmp_path, _WS_COMPLETE=f"source_{shell}")
        assert "_WS_COMPLETE" in done.stdout, done.stderr

    @pytest.mark.parametrize(
        ("words", "offered"),
        [("ws pre", "preview"), ("ws node l", "list"), ("ws ps -s de", "dev"), ("ws set redis.mem", "redis.memory"),
         ("ws logs ray-c", "ray-cpu")],
    )  # fmt: skip
    def test_offers_what_there_is(self, words, offered, tmp_path):
        count = str(len(words.split()) - 1)
        done = ws(cwd=tmp_path, _WS_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
        assert offered in done.stdout.split(), done.stderr

    def test_of_a_stack_that_is_not_there_is_nothing(self):
        assert completion.stacks("no such") == []


class TestProbes:
    @pytest.mark.parametrize(
        "line",
        [
            '2026/11/27 05:00:00 INFO:     127.0.0.1:50000 - "GET /health HTTP/1.1" 200 OK',
            'INFO:     172.28.0.9:50000 - "GET /mlflow/health HTTP/1.1" 200 OK',
            'INFO:     172.28.0.9:50000 - "GET /version HTTP/1.1" 200 OK',
            '172.28.0.1 - - [27/Nov/2026] "HEAD /api/gcs_healthz HTTP/1.1" 200 3',
        ],
    )
    def test_are_left_out(self, line):
        assert is_probe(line)

    @pytest.mark.parametrize(
        "line",
        [
            'INFO:     127.0.0.1:50000 - "GET /health HTTP/1.1" 503 Service Unavailable',
            'INFO:     172.28.0.9:50000 - "POST /api/2.0/mlflow/runs/create HTTP/1.1" 200 OK',
            'INFO:     172.28.0.9:50000 - "GET /healthy-models HTTP/1.1" 200 OK',
            "health: 200",
            'he said "GET /health" and left',
        ],
    )
    def test_that_failed_and_all_else_stay(self, line):
        assert not is_probe(line)
