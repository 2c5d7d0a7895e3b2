"""`ws backup` on the command line: an option in the wrong place acts on no other stack."""

import pytest

from ws import cli
from ws.backup import commands


class Opened(Exception):  # noqa: N818 (a result, not a defect)
    """A command has begun, on the stack of its name."""


@pytest.fixture(autouse=True)
def begins(monkeypatch):
    def opened(stack: str, *_: object, **__: object) -> None:
        raise Opened(stack)

    monkeypatch.setattr(commands, "_open", opened)


@pytest.mark.parametrize("command", ["list", "verify", "prune", "schedule"])
@pytest.mark.parametrize("options", [["-s", "gpu"], ["--new"], ["--json"]])
def test_an_option_before_the_command_is_refused(command, options, capsys):
    assert cli.main(["backup", *options, command]) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())  # without the frame and its line breaks
    assert f"ws backup {command} …" in said


@pytest.mark.parametrize(
    "arguments", [["-s", "gpu"], ["list", "-s", "gpu"], ["verify", "-s", "gpu"], ["prune", "-s", "gpu"]]
)
def test_an_option_after_it_counts(arguments):
    with pytest.raises(Opened, match="gpu"):
        cli.main(["backup", *arguments])
