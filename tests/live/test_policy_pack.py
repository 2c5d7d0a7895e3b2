"""The rules of hardening as a policy pack, which the genuine CLI asks about what its providers are given. A minute."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.rules import RULES
from testing.harness import merged, stack_settings
from testing.live.deployment import SMALL, LiveStack
from testing.live.pulumi_stack import MARKS, PulumiStack

pytestmark = MARKS
PACK = ("--policy-pack", "policy")
PASSED = "✅ hardening@"
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-policy", "subnet": "10.209.0.0/24"},
        "redis": {"port": 27385},
        "health": {"port": 27892},
    },
)


@pytest.fixture
def cli(docker_engine: None, tmp_path: Path) -> Iterator[PulumiStack]:
    """A small stack, known to the CLI and not deployed."""
    live = LiveStack.make("live-policy", SETTINGS, tmp_path)
    live.remove()
    pulumi = PulumiStack(live, tmp_path)
    try:
        pulumi("stack", "init")
        yield pulumi
    finally:
        live.remove()


@pytest.mark.parametrize("name", ["dev", "gpu"])
def test_every_stack_file_passes(docker_engine, tmp_path, name):
    live = LiveStack.make(name, stack_settings(name), tmp_path)
    live.further_config = {"cslr:preflight": "false"}  # this is not its host
    live.configure()
    pulumi = PulumiStack(live, tmp_path)
    pulumi("stack", "init")
    assert PASSED in pulumi("preview", *PACK)


def test_a_deployment_passes_and_is_as_without_it(cli):
    assert PASSED in cli("up", "--yes", *PACK)  # with a preview that does not know the images' IDs
    assert cli.live.unhealthy() == {}
    cli.changes_nothing("preview", *PACK)
    cli.changes_nothing("up", "--yes", *PACK)


def test_it_refuses_where_the_program_does_not(cli, monkeypatch):
    """Nothing is made: not in a preview, and not without one."""
    rule = next(rule for rule in RULES if rule.name == "read-only-root")
    replaced(cli.live.folder / "components/docker.py", "read_only=True,", "read_only=False,")
    replaced(cli.live.folder / "policy/gate.py", "watch_registrations(gate", "(gate")
    said = f": writable root: against the rule {rule.name}. {rule.statement} {rule.reason} {rule.remedy}"
    preview = cli.run("preview", *PACK)
    assert "[mandatory]  read-only-root  (docker:index:Container: redis-container)" in preview.stdout
    assert f"redis{said}" in preview.stdout
    for variable in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"):
        monkeypatch.setenv(variable, cli.environment[variable])
    by_ws = cli.live.ws("preview", "--engine", "pulumi", "--policy-pack")
    assert (by_ws.returncode, f"redis{said}" in by_ws.stdout) == (1, True)
    up = cli.run("up", "--yes", "--skip-preview", *PACK)  # ends with the first container
    assert said in up.stdout
    assert preview.returncode != 0 != up.returncode
    assert cli.live.containers() == {}


def replaced(file: Path, old: str, new: str) -> None:
    """Changes one place of a copy of the program."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
