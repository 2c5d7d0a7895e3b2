"""The guards of a node end with one line where their settings are missing or wrong."""

import pytest

from contracts.document import SETTINGS_VARIABLE
from entrypoints.ray import node_guard


@pytest.mark.parametrize("settings", [None, "{", "[]", '{"surprise": 1}'])
def test_settings_that_cannot_be_read_are_told_in_one_line(settings, monkeypatch, capsys):
    monkeypatch.delenv(SETTINGS_VARIABLE, raising=False)
    if settings is not None:
        monkeypatch.setenv(SETTINGS_VARIABLE, settings)
    assert node_guard.main() == 1
    said = capsys.readouterr().out
    assert said.startswith(f"[node-guard] {SETTINGS_VARIABLE}")
    assert said.count("\n") == 1
