"""What options of `ws submit` mean."""

import pytest

from ws.drain_option import with_time
from ws.errors import WsError
from ws.queue.submitting import entrypoint, environment, requirements


class TestEntrypoint:
    @pytest.mark.parametrize(
        ("words", "command"),
        [
            (["python", "train.py", "a b"], "python train.py 'a b'"),
            (["python a.py && python b.py"], "python a.py && python b.py"),
            (["./run"], "./run"),
            (["my$file"], "'my$file'"),
        ],
    )
    def test_is_quoted_unless_it_is_one_text_for_a_shell(self, words, command):
        assert entrypoint(words) == command

    def test_options_of_the_program_are_its_own(self):
        words = ["submit", "--", "python", "x.py", "--drain"]
        assert with_time(words) == words


class TestEnvironment:
    def test_values_are_given_or_taken_from_here(self):
        assert environment(["A=b=c", "HOME", "E="], {"HOME": "/home/ana"}) == {"A": "b=c", "HOME": "/home/ana", "E": ""}

    def test_a_variable_that_is_not_here_is_refused(self):
        with pytest.raises(WsError, match="--env A=VALUE"):
            environment(["A"], {})


class TestRequirements:
    def test_options_come_before_those_of_files_without_comments(self, tmp_path):
        (tmp_path / "r.txt").write_text("# field\neinops>=0.8  # for attention\n\npandas\n")
        assert requirements(["numpy"], [tmp_path / "r.txt"]) == ("numpy", "einops>=0.8", "pandas")

    def test_options_of_pip_are_refused(self, tmp_path):
        (tmp_path / "r.txt").write_text("-e .\n")
        with pytest.raises(WsError, match="option of pip"):
            requirements([], [tmp_path / "r.txt"])
