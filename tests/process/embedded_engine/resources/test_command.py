"""Commands of the embedded engine, run by the real shell."""

import os
import stat
import threading
import time

import pytest

from embedded_engine.registration import Registration, recorded
from embedded_engine.resources.base import Actual, Progress, ResourceError
from embedded_engine.resources.command import TAIL_LINES, Command
from stack.identity import LEAVES_IMAGE

HERE = {"cslr/base:here"}


@pytest.fixture
def command(tmp_path):
    return Command(tmp_path / "commands", HERE.__contains__, threading.Event())


def wanted(create: str, name: str = "check", **inputs) -> Registration:
    inputs = {"create": create, **inputs}
    return Registration(
        urn=f"urn:pulumi:dev::cslr::command:local:Command::{name}",
        type="command:local:Command",
        name=name,
        inputs=inputs,
        recorded=recorded(inputs),
        dependencies=(),
        retain_on_delete=False,
    )


def ignore(_text: str) -> None:
    pass


def run(command: Command, registration: Registration, progress: Progress = ignore) -> Actual:
    return command.create(registration, None, progress)


class TestAnswer:
    def test_is_what_it_wrote(self, command):
        made = run(command, wanted("echo answer; echo note >&2"))
        assert made.outputs == {"stdout": "answer", "stderr": "note"}

    def test_is_kept(self, command, tmp_path):
        made = run(command, wanted("echo answer"))
        assert Command(tmp_path / "commands", HERE.__contains__, threading.Event()).read(wanted("echo answer")) == made

    def test_counts_only_while_the_image_that_it_left_is_there(self, command):
        for image, kept in (("cslr/base:here", True), ("cslr/base:pruned", False)):
            registration = wanted("echo made", name=image[-4:], environment={LEAVES_IMAGE: image})
            run(command, registration)
            assert (command.read(registration) is not None) == kept

    def test_is_kept_with_its_inputs(self, command):
        run(command, wanted("echo answer", triggers=["a"]))
        found = command.read(wanted("echo answer", triggers=["b"]))
        assert found.inputs == {"create": "echo answer", "triggers": ["a"]}, "so that the engine sees the change"

    def test_is_kept_for_the_user_alone(self, command, tmp_path):
        run(command, wanted("true"))
        (file,) = (tmp_path / "commands").iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_of_one_is_not_that_of_another(self, command):
        run(command, wanted("echo one"))
        assert command.read(wanted("echo one", name="other")) is None

    def test_may_be_long(self, command):
        made = run(command, wanted("seq 1 100000; seq 1 100000 >&2"))
        assert made.outputs["stdout"].count("\n") == 99_999

    @pytest.mark.parametrize("content", ["", "{", "[1]", "{}"])
    def test_that_is_damaged_runs_it_again(self, command, tmp_path, content):
        run(command, wanted("true"))
        (file,) = (tmp_path / "commands").iterdir()
        file.write_text(content)
        assert command.read(wanted("true")) is None

    def test_is_forgotten_when_it_is_deleted(self, command):
        made = run(command, wanted("true"))
        command.delete(made, ignore)
        assert command.read(wanted("true")) is None


class TestRun:
    def test_has_the_environment_that_the_program_gives(self, command):
        made = run(command, wanted('echo "$GREETING $PATH"', environment={"GREETING": "hello"}))
        assert made.outputs["stdout"] == f"hello {os.environ['PATH']}"

    def test_is_in_the_folder_that_the_program_names(self, command, tmp_path):
        made = run(command, wanted("pwd", dir=str(tmp_path)))
        assert made.outputs["stdout"] == str(tmp_path)

    def test_cannot_wait_for_somebody_to_type(self, command):
        assert run(command, wanted("cat")).outputs["stdout"] == ""

    def test_shows_its_progress_as_it_goes(self, command):
        lines: list[str] = []
        run(command, wanted("echo one >&2; echo two >&2; printf '\\303' >&2"), lines.append)
        assert lines[:3] == ["running", "one", "two"]


class TestFailure:
    def test_shows_the_end_of_what_it_said(self, command):
        with pytest.raises(ResourceError) as caught:
            run(command, wanted("seq 1 1000 >&2; echo broken >&2; exit 3"))
        lines = str(caught.value).splitlines()
        assert lines[-1] == "broken"
        assert len(lines) == TAIL_LINES

    def test_without_a_word_shows_the_answer_or_the_code(self, command):
        with pytest.raises(ResourceError, match="answer"):
            run(command, wanted("echo answer; exit 3"))
        with pytest.raises(ResourceError, match="ended with exit code 3"):
            run(command, wanted("exit 3"))

    def test_is_run_again(self, command, tmp_path):
        repaired = tmp_path / "repaired"
        again = wanted(f"test -e {repaired}")
        with pytest.raises(ResourceError):
            run(command, again)
        assert command.read(again) is None
        repaired.touch()
        assert run(command, again).outputs["stdout"] == ""

    def test_forgets_the_answer_of_before(self, command, tmp_path):
        broken = tmp_path / "broken"
        again = wanted(f"test ! -e {broken}")
        run(command, again)
        broken.touch()
        with pytest.raises(ResourceError):
            run(command, again)
        assert command.read(again) is None

    def test_in_a_folder_that_is_not_there_is_told(self, command):
        with pytest.raises(OSError, match="no/such/folder"):
            run(command, wanted("true", dir="/no/such/folder"))


class TestInterrupt:
    def test_ends_the_command_and_what_it_started(self, command, tmp_path):
        """Ctrl-C reaches this process alone: the command is in a session of its own."""
        pid = tmp_path / "pid"

        registration = wanted(f"sleep 60 & echo $! > {pid}; wait")  # says nothing all the time
        threading.Timer(1.0, command._cancelled.set).start()
        with pytest.raises(ResourceError):
            run(command, registration)
        assert ends(int(pid.read_text()))
        assert command.read(wanted("")) is None


def ends(pid: int) -> bool:
    """Whether a process ends within seconds (a zombie has ended)."""
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False
