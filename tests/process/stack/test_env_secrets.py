"""Secrets of the environment, as the starter of a container exports them."""

import subprocess

import pytest

from testing.harness import PROJECT


class TestStarter:
    """entrypoints/with_python.sh, on this machine's shell, with its folder of secrets moved."""

    @pytest.fixture
    def script(self, tmp_path):
        (tmp_path / "env").mkdir()
        text = (PROJECT / "entrypoints/with_python.sh").read_text()
        file = tmp_path / "with_python.sh"
        file.write_text(text.replace("/run/secrets/env", str(tmp_path / "env")))
        return file

    @pytest.mark.parametrize(
        "value", ["plain", "two words", "a=b=c", "quote ' \" $HOME `id` \\", "first\nsecond", "grüße 手话 \u2764"]
    )
    def test_exports_each_file_by_its_name(self, tmp_path, script, value):
        (tmp_path / "env" / "HF_TOKEN").write_text(f"{value}\n")
        said = subprocess.run(
            ["sh", script, "-c", "import os; print(ascii(os.environ['HF_TOKEN']), 'file' in os.environ)"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said.stdout.strip() == f"{value!a} False"

    def test_has_no_variable_of_its_own_that_a_secret_may_be_called(self, tmp_path, script):
        for name in ("file", "bin"):
            (tmp_path / "env" / name).write_text("secret")
        said = subprocess.run(
            ["sh", script, "-c", "import os; print(os.environ['file'], os.environ['bin'])"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said.stdout == "secret secret\n"

    def test_goes_on_without_any(self):
        done = subprocess.run(["sh", PROJECT / "entrypoints/with_python.sh", "-c", "print(1)"], capture_output=True)
        assert done.stdout == b"1\n"
