"""The command line: exit codes, help, and one clear message for each error."""

import errno
import importlib

import pytest

from config.problems import ConfigError
from docker_api.api import DockerError
from embedded_engine.lock import LockedError
from embedded_engine.program import ProgramError
from ws import cli, containers, errors
from ws.errors import WsError

COMMANDS = (
    "up",
    "preview",
    "down",
    "generate",
    "client",
    "matrix",
    "report",
    "ps",
    "logs",
    "test",
    "doctor",
    "outputs",
    "history",
    "drift",
    "rollback",
)


@pytest.fixture
def ps_raises(monkeypatch):
    def prepare(error: BaseException) -> None:
        def fail(_identity):
            raise error

        monkeypatch.setattr(containers, "containers", fail)

    return prepare


class TestExitCodes:
    @pytest.mark.parametrize("name", sorted(errors.KNOWN))
    def test_every_known_error_is_there(self, name):
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), kind), Exception)

    @pytest.mark.parametrize("kind", [ConfigError, DockerError, LockedError, ProgramError, WsError])
    def test_a_known_error_is_its_message_and_1(self, kind, ps_raises, capsys):
        ps_raises(kind("redis.port: 70000 is no port.\n  Set another."))
        assert cli.main(["ps"]) == 1
        assert capsys.readouterr().err == "redis.port: 70000 is no port.\n  Set another.\n"

    @pytest.mark.parametrize(
        "error",
        [
            FileExistsError(errno.EEXIST, "File exists", "/home/me/.local"),
            OSError(errno.EROFS, "Read-only file system", "/home/me/.local"),
            OSError(errno.ENOSPC, "No space left on device"),
        ],
    )
    def test_a_misfortune_of_files_is_a_sentence(self, error, ps_raises, capsys):
        ps_raises(error)
        assert cli.main(["ps"]) == 1
        place = f"{error.filename}: " if error.filename else ""
        assert capsys.readouterr().err == f"{place}{error.strerror}.\n"

    @pytest.mark.parametrize(
        "stack", ["", "../x", "a/b", "/etc/passwd", "a\nb", "\x1b[31m", "x" * 300, "über", "dev ", ".", "-", "$(id)"]
    )
    @pytest.mark.parametrize(
        "command",
        [
            "ps",
            "logs",
            "up",
            "down",
            "test",
            "outputs",
            "env",
            "head show",
            "get",
            "doctor",
            "history",
            "drift",
            "rollback",
        ],
    )
    def test_a_name_that_no_stack_can_have_is_one_sentence(self, command, stack, capsys, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        assert cli.main([*command.split(), f"--stack={stack}"]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 2
        assert "cannot be a stack's name" in said
        assert "Choose one of dev, gpu, matrix" in said
        assert len(said) < 400
        assert said.replace("\n", "").isprintable()
        assert not list(tmp_path.rglob("*x*"))

    def test_an_unknown_stack_names_the_known_ones(self, capsys):
        assert cli.main(["ps", "--stack", "nowhere"]) == 1
        said = capsys.readouterr().err
        assert "Pulumi.nowhere.yaml: there is no such stack file." in said
        assert "dev, gpu, matrix" in said
        assert "Traceback" not in said

    @pytest.mark.parametrize("command", ["up", "matrix"])
    def test_a_wrong_stack_file_is_refused_before_the_host_is_touched(self, command, monkeypatch, tmp_path, capsys):
        (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
        (tmp_path / "Pulumi.lab.yaml").write_text("config:\n  cslr:platform: {redis: {port: -1}}\n")
        monkeypatch.setattr("ws.stack_settings.FOLDER", tmp_path)
        monkeypatch.setattr("ws.deploy.setup.answers", lambda: False)
        monkeypatch.setattr("ws.deploy.setup.ensure", lambda _: pytest.fail("the host was touched"))
        assert cli.main([command, "--stack", "lab"]) == 1
        assert "Pulumi.lab.yaml: cslr:platform.redis.port: " in capsys.readouterr().err

    def test_a_defect_of_ours_keeps_its_traceback(self, ps_raises):
        ps_raises(AssertionError("cannot happen"))
        with pytest.raises(AssertionError):
            cli.main(["ps"])

    @pytest.mark.parametrize(
        "arguments",
        [["deploy"], ["up", "--engine", "terraform"], ["logs", "--tail", "-1"], ["matrix", "--phase", "5"], []],
    )
    def test_a_wrong_call_is_2(self, arguments):
        assert cli.main(arguments) == 2

    def test_an_interrupt_is_130_and_says_how_to_go_on(self, ps_raises, capsys):
        ps_raises(KeyboardInterrupt())
        assert cli.main(["ps"]) == 130
        assert "run it again to continue" in capsys.readouterr().err


class TestHelp:
    def test_it_lists_every_command(self, capsys):
        assert cli.main(["--help"]) == 0
        said = capsys.readouterr().out
        assert all(command in said for command in COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_its_own(self, command, capsys):
        assert cli.main([command, "--help"]) == 0
        assert f"Usage: ws {command}" in capsys.readouterr().out
