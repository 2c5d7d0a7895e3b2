"""The wrappers for Windows: they ask of `ws` only what it knows, and have the line ends that Windows needs."""

import re

import pytest

from config.project import FOLDER
from ws import __main__ as entry
from ws import cli

BIN = FOLDER / "bin"
WRAPPERS = ("ws.cmd", "ws.ps1", "build-matrix.ps1", "build-phase.bat")


@pytest.mark.parametrize("name", WRAPPERS)
def test_lines_end_as_windows_ends_them(name):
    text = (BIN / name).read_bytes()
    assert text.count(b"\n") == text.count(b"\r\n") > 0


@pytest.mark.parametrize("name", ["ws.cmd", "ws.ps1"])
def test_wsl_starts_the_same_ws_in_the_checkout_without_a_shell(name):
    text = (BIN / name).read_text()
    assert re.search(r"wsl\.exe --cd .* --exec bin/ws", text)
    assert "wsl --install" in text, "without WSL2 it says what to do"


def test_the_matrix_wrapper_has_the_former_options_and_knows_ours(capsys):
    text = (BIN / "build-matrix.ps1").read_text()
    for former in ("Cuda", "Python", "Target", "Minimal", "All"):
        assert f"${former}" in text
    cli.main(["matrix", "--help"])
    said = capsys.readouterr().out
    assert all(option in said for option in re.findall(r"'(--[a-z]+)'", text))


def test_the_phase_wrapper_passes_the_number_on():
    text = (BIN / "build-phase.bat").read_text()
    assert re.findall(r'"(phase\d)"', text) == [f"phase{number}" for number in (1, 2, 3, 4)]
    assert "matrix --phase %phase:~5%" in text


def test_a_python_of_windows_is_told_so_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.platform", "win32")
    assert entry._main() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "WSL2" in said
