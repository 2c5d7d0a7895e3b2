"""A restore that has not ended keeps others from the stack's data, and not itself."""

import stat
from pathlib import Path

import pytest

from config.problems import SettingsError
from stack.identity import GENERATES, StackIdentity
from stack.stack import Stack
from stack.unfinished_restore import RESTORES, Marker, check, marker_of

IDENTITY = StackIdentity(project="cslr", stack="copy")
MARKER = Marker(backup="a", command="ws restore a -s copy", places=("/srv/home",))


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_nothing_is_refused_without_one():
    assert Marker.read(IDENTITY) is None
    check(IDENTITY, {})


def test_every_user_of_the_stack_may_read_it():
    """Root restores, and another user may run `ws up`."""
    MARKER.write(IDENTITY)
    assert Marker.read(IDENTITY) == MARKER
    assert stat.S_IMODE(marker_of(IDENTITY).stat().st_mode) == 0o644


def test_is_completed_by_its_command():
    MARKER.write(IDENTITY)
    with pytest.raises(SettingsError) as refused:
        check(IDENTITY, {})
    said = str(refused.value)
    assert "stack copy: the restore of the backup a has not ended" in said
    assert "\n    ws restore a -s copy\n" in said
    assert f"rm {marker_of(IDENTITY)}" in said


@pytest.mark.parametrize(("restores", "passes"), [("a", True), ("b", False), ("", False)])
def test_does_not_refuse_its_own_commands(restores, passes):
    MARKER.write(IDENTITY)
    environment = {RESTORES: restores}
    if passes:
        check(IDENTITY, environment)
    else:
        with pytest.raises(SettingsError):
            check(IDENTITY, environment)


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("checks", ["true", "host", "false"])
def test_program_is_refused_unless_it_changes_and_checks_nothing(checks, dry_run):
    """A plain `pulumi up` as well."""
    from program import claim

    def stack(**environment: str) -> Stack:
        config = {"preflight": checks}
        return Stack(identity=IDENTITY, config=config.get, dry_run=dry_run, python="python", environment=environment)

    MARKER.write(IDENTITY)
    if checks == "true" or not dry_run:
        with pytest.raises(SettingsError, match="has not ended"):
            claim(stack())
    else:
        claim(stack())
    claim(stack(**{GENERATES: "1"}))
