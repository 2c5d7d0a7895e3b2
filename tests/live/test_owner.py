"""One owner of a stack at a time: engines, states, state folders. On a small stack, about two minutes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, done
from testing.live.pulumi_stack import MARKS, PulumiStack

pytestmark = MARKS
NAME = "live-owner"
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-owner", "subnet": "10.62.0.0/24"},
        "redis": {"port": 27382},
        "health": {"port": 27889},
    },
)
REDIS = "REDISCLI_AUTH=$(cat /run/secrets/redis-password) redis-cli"


@pytest.fixture
def stack(docker_engine: None, tmp_path: Path) -> Iterator[LiveStack]:
    live = LiveStack.make(NAME, SETTINGS, tmp_path)
    live.remove()
    try:
        yield live
    finally:
        live.remove()


@pytest.fixture
def cli(stack: LiveStack, tmp_path: Path) -> PulumiStack:
    """The genuine engine on the stack; `ws` uses the same backend."""
    pulumi = PulumiStack(stack, tmp_path)
    stack.variables |= {key: value for key, value in pulumi.environment.items() if key.startswith("PULUMI_")}
    pulumi("stack", "init")
    return pulumi


@pytest.fixture
def made_by_embedded(stack: LiveStack, cli: PulumiStack) -> PulumiStack:
    assert stack.up().ok
    return cli


@pytest.fixture
def made_by_pulumi(cli: PulumiStack) -> PulumiStack:
    cli("up", "--yes", "--skip-preview")
    return cli


def without_cli(stack: LiveStack, folder: Path) -> None:
    """From here on `ws` finds no Pulumi CLI."""
    places = [place for place in os.environ["PATH"].split(":") if not (Path(place) / "pulumi").exists()]
    stack.variables |= {"PATH": ":".join(places), "PULUMI_HOME": str(folder / "no-pulumi")}


def remember(stack: LiveStack) -> None:
    """Data that must outlive every change of the owner."""
    code, said = stack.exec("redis", "sh", "-c", f"{REDIS} set kept yes && {REDIS} save")
    assert code == 0, said


def remembers(stack: LiveStack) -> bool:
    return stack.exec("redis", "sh", "-c", f"{REDIS} get kept")[1].strip().endswith("yes")


class TestMadeByTheEmbeddedEngine:
    def test_pulumi_by_hand_is_refused_with_the_way(self, made_by_embedded):
        before = made_by_embedded.live.ids()
        for command in (("preview",), ("up", "--yes", "--skip-preview"), ("preview", "--refresh")):
            refused = made_by_embedded.run(*command)
            assert refused.returncode != 0
            assert "of it were made by the embedded engine, and Pulumi does not know them" in refused.stdout
            assert f"ws down -s {NAME}" in refused.stdout
            assert "Traceback" not in refused.stdout
        assert made_by_embedded.live.ids() == before

    def test_ws_stays_with_it_although_there_is_a_cli(self, stack, made_by_embedded):
        before = stack.ids()
        for command in ("up", "preview"):
            again = stack.ws(command)
            assert again.returncode == 0, again.stdout
            assert "it made this stack" in again.stdout
        assert stack.ids() == before

    def test_changes_over_and_keeps_data_where_that_is_asked_for(self, stack, made_by_embedded):
        remember(stack)
        preview = stack.ws("preview", "--engine", "pulumi")
        assert preview.returncode == 0, preview.stdout
        assert "was made by the embedded engine: `up` would take it down first" in preview.stdout
        changed = stack.ws("up", "--engine", "pulumi")
        assert changed.returncode == 0, changed.stdout
        assert stack.unhealthy() == {}
        assert remembers(stack)
        made_by_embedded.changes_nothing("preview")

    def test_the_way_of_the_refusal_leads_there(self, stack, made_by_embedded):
        remember(stack)
        assert stack.ws("down").returncode == 0
        made_by_embedded("up", "--yes", "--skip-preview")
        assert remembers(stack)


class TestMadeByPulumi:
    def test_ws_without_the_cli_leaves_it_alone(self, stack, made_by_pulumi, tmp_path):
        without_cli(stack, tmp_path)
        before = stack.ids()
        for command in ("up", "preview"):
            refused = stack.ws(command)
            assert refused.returncode == 1
            assert f"stack {NAME} was made by Pulumi" in refused.stdout
            assert f"ws up --stack {NAME} --engine embedded" in refused.stdout
        assert stack.ids() == before

    def test_the_embedded_engine_itself_refuses(self, stack, made_by_pulumi):
        before = stack.ids()
        with pytest.raises(AssertionError, match="of it were made by Pulumi in file://"):
            stack.up()
        assert stack.ids() == before

    def test_ws_goes_on_with_pulumi(self, stack, made_by_pulumi):
        before = stack.ids()
        again = stack.ws("up")
        assert again.returncode == 0, again.stdout
        assert stack.ids() == before

    def test_changes_over_and_keeps_data_where_that_is_asked_for(self, stack, made_by_pulumi, tmp_path):
        remember(stack)
        without_cli(stack, tmp_path)
        changed = stack.ws("up", "--engine", "embedded")
        assert changed.returncode == 0, changed.stdout
        assert remembers(stack)
        assert done(stack.preview()) == {}


class TestAnotherState:
    def test_of_another_backend_is_refused_and_named(self, stack, made_by_pulumi, tmp_path):
        before, backend = stack.ids(), made_by_pulumi.state
        made_by_pulumi.state = tmp_path / "other"
        made_by_pulumi.state.mkdir()
        made_by_pulumi("stack", "init")
        for command in (("preview",), ("up", "--yes", "--skip-preview")):
            refused = made_by_pulumi.run(*command)
            assert refused.returncode != 0
            assert f"export PULUMI_BACKEND_URL=file://{backend}" in refused.stdout
        assert stack.ids() == before

    def test_that_was_emptied_is_refused(self, stack, made_by_pulumi):
        before = stack.ids()
        made_by_pulumi("stack", "rm", "--yes", "--force", "--preserve-config")
        made_by_pulumi("stack", "init")
        refused = made_by_pulumi.run("up", "--yes", "--skip-preview")
        assert refused.returncode != 0
        assert "The state was lost? Restore that" in refused.stdout
        assert stack.ids() == before

    @pytest.mark.parametrize("maker", ["made_by_embedded", "made_by_pulumi"])
    def test_of_another_user_is_refused(self, stack, maker, request, tmp_path):
        pulumi = request.getfixturevalue(maker)
        before, home = stack.ids(), stack.state_home
        stack.state_home = tmp_path / "theirs"
        refused = stack.ws("up", "--engine", "embedded" if maker == "made_by_embedded" else "pulumi")
        assert refused.returncode == 1
        assert f"export XDG_STATE_HOME={home}" in refused.stdout
        by_hand = pulumi.run("preview")
        assert f"export XDG_STATE_HOME={home}" in by_hand.stdout
        stack.state_home = home
        assert stack.ids() == before

    def test_of_another_checkout_is_told(self, stack, made_by_pulumi, tmp_path):
        stack.folder = stack.folder.rename(tmp_path / "moved")
        assert f"stack {NAME} was deployed last from {tmp_path / 'project'}" in made_by_pulumi("preview")
