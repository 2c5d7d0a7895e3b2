"""History, drift and rollback of a small stack on the embedded engine, in the order of this file. About two minutes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from config.project import version
from testing.live.deployment import LiveStack

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-history", "subnet": "10.228.0.0/24"},
    "ray": {"cpu": {"enabled": False}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "keeper": {"enabled": False},
    "redis": {"port": 33381, "memory": "512m"},
    "health": {"port": 33888},
}
COMMENT = "# Written by hand."
SECRET = "hunter2-of-the-live-test"
DRIFTED = 3

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    live = LiveStack.make("live-history", SETTINGS, tmp_path_factory.mktemp("history"))
    live.variables |= {"COLUMNS": "250", "SUDO_USER": "anna"}  # so that no cell is folded; as behind sudo
    live.remove()
    try:
        yield live
    finally:
        live.remove()


def configured(stack: LiveStack, memory: str) -> str:
    """Writes the stack file by hand: with a comment, and a secret in plain text."""
    platform = json.dumps({**SETTINGS, "redis": {"port": 33381, "memory": memory}})
    text = f"config:\n  {COMMENT}\n  cslr:platform: {platform}\n"
    file(stack).write_text(text)
    return text


def file(stack: LiveStack) -> Any:
    return stack.folder / f"Pulumi.{stack.name}.yaml"


def ws(stack: LiveStack, *arguments: str, code: int = 0) -> str:
    done = stack.ws(*arguments)
    assert done.returncode == code, done.stdout
    return done.stdout


def history(stack: LiveStack) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(ws(stack, "history", "--json"))
    return records


def drift(stack: LiveStack, code: int = DRIFTED) -> dict[tuple[str, str], str]:
    """(name without the stack's, field) → difference."""
    found = json.loads(ws(stack, "drift", "--json", code=code))["drift"]
    prefix = f"{stack.identity.prefix}-"
    return {(one["name"].removeprefix(prefix), one["field"]): one["difference"] for one in found}


def memory(stack: LiveStack, service: str = "redis") -> int:
    return int(stack.container(service).attrs["HostConfig"]["Memory"]) // 1024**2


class TestHistory:
    def test_of_a_stack_that_was_never_deployed_is_empty(self, stack):
        configured(stack, "512m")
        assert "no history yet" in ws(stack, "history")
        assert "is not deployed" in ws(stack, "drift", code=1)
        assert "no earlier successful" in ws(stack, "rollback", code=1)

    def test_has_each_up_with_what_it_changed(self, stack):
        ws(stack, "up", "--engine", "embedded")
        (first,) = history(stack)
        assert (first["number"], first["operation"], first["outcome"], first["engine"]) == (1, "up", "done", "embedded")
        assert first["who"].startswith("anna")
        assert first["counts"]["create"] >= len(stack.containers())
        assert first["verification"] == "" or " passed" in first["verification"]
        assert set(first["images"]) == set(stack.containers())
        assert first["config_diff"] is None

    def test_has_the_config_diff_of_an_edit(self, stack):
        configured(stack, "640m")
        ws(stack, "up", "--engine", "embedded")
        second = history(stack)[-1]
        assert second["config_diff"] == {"compared_with": 1, "lines": ["cslr:platform.redis.memory: 512m → 640m"]}
        assert ("redis-container", "replace") in {(one["name"], one["action"]) for one in second["changed"]}
        assert "cslr:platform.redis.memory: 512m → 640m" in ws(stack, "history", "2")
        lines = ws(stack, "history").splitlines()
        assert [line.split()[0] for line in lines if line.strip()] == ["No.", "1", "2"]

    def test_has_a_failure_and_leaves_the_state_as_it_was(self, stack):
        text = file(stack).read_text()
        file(stack).write_text(text.replace("640m", "1k"))
        ws(stack, "up", "--engine", "embedded", code=1)
        file(stack).write_text(text)
        last = history(stack)[-1]
        assert (last["number"], last["outcome"]) == (3, "failed")
        assert last["error"]
        assert memory(stack) == 640


class TestDrift:
    def test_of_what_was_just_deployed_is_none(self, stack):
        assert drift(stack, code=0) == {}
        assert "No drift" in ws(stack, "drift", code=0)
        assert "Drift" not in ws(stack, "ps")

    def test_of_an_edit_that_is_not_deployed_is_none(self, stack):
        text = file(stack).read_text()
        configured(stack, "768m")
        assert "not deployed yet" in ws(stack, "drift", code=0)
        file(stack).write_text(text)

    def test_behind_the_stack_s_back_is_named_by_field_and_changes_nothing(self, stack):
        before = stack.ids()
        redis, health = stack.container("redis"), stack.container("health")
        redis.update(mem_limit="600m", memswap_limit="600m", cpu_shares=512, restart_policy={"Name": "no"})
        found = drift(stack)
        assert found == {
            ("redis", "memory"): "640m → 600m",
            ("redis", "memory with swap"): "640m → 600m",
            ("redis", "CPU shares"): "null → 512",
            ("redis", "restart"): "unless-stopped → no",
        }
        assert stack.ids() == before
        shown = ws(stack, "ps")
        assert "memory, memory with swap, restart, CPU shares" in shown
        health.stop()
        assert drift(stack)["health", "state"] == "running → exited"
        stack.engine.networks.get("cslr-live-history").disconnect(redis, force=True)
        assert any(field == "networks" for _, field in drift(stack))

    def test_names_what_is_missing_and_what_nobody_declares(self, stack):
        stack.container("health").remove(force=True)
        labels = stack.identity.labels("by-hand")
        stack.engine.containers.create(
            stack.container("redis").attrs["Image"], name="cslr-live-history-by-hand", labels=labels
        )
        found = drift(stack)
        assert found["health", ""] == "is missing"
        assert found["by-hand", ""] == "is not declared"
        assert "Missing since" not in ws(stack, "ps")  # the last run failed, and said what is missing
        stack.engine.containers.get("cslr-live-history-by-hand").remove()

    def test_is_undone_by_up_where_that_makes_containers_anew(self, stack):
        stack.container("redis").remove(force=True)
        ws(stack, "up", "--engine", "embedded")
        assert drift(stack, code=0) == {}
        stack.container("health").remove(force=True)
        assert "Missing since the last deployment: health" in ws(stack, "ps")
        ws(stack, "up", "--engine", "embedded")


class TestRollback:
    def test_goes_to_the_state_before_with_the_file_to_the_letter(self, stack):
        now = file(stack).read_text()
        said = ws(stack, "rollback", "--yes")
        assert "Returning to number 1" in said
        assert "cslr:platform.redis.memory: 640m → 512m" in said
        assert memory(stack) == 512
        assert COMMENT in file(stack).read_text()
        assert '"512m"' in file(stack).read_text()
        (backup,) = (stack.state / "history" / "replaced").iterdir()
        assert backup.read_text() == now
        last = history(stack)[-1]
        assert (last["operation"], last["returned_to"], last["outcome"]) == ("rollback", 1, "done")
        assert drift(stack, code=0) == {}

    def test_goes_back_again(self, stack):
        ws(stack, "rollback", "--yes")
        assert memory(stack) == 640
        assert drift(stack, code=0) == {}

    def test_gives_an_image_its_name_back_that_was_built_again(self, stack):
        redis = history(stack)[-1]["images"]["redis"]
        identifier = redis["identifier"]
        (name,) = (tag for tag in redis["tags"] if not tag.endswith(f":{version()}"))  # that containers are made from
        other = stack.container("health").attrs["Image"]
        repository, _, tag = name.rpartition(":")
        assert stack.engine.images.get(other).tag(repository, tag)
        try:
            said = ws(stack, "rollback", "2", "--yes")
        finally:
            stack.engine.images.get(identifier).tag(repository, tag)
        assert f"image {name}: " in said
        assert stack.engine.images.get(name).id == stack.container("redis").attrs["Image"] == identifier

    def test_refuses_what_is_not_possible_before_anything_is_changed(self, stack):
        before, text = stack.ids(), file(stack).read_text()
        assert "is no successful `up`" in ws(stack, "rollback", "3", code=1)
        assert "has no number 99" in ws(stack, "rollback", "99", code=1)
        record = stack.state / "history" / "000001.json"
        kept = record.read_text()
        strange = json.loads(kept)
        strange["images"]["redis"] = {"identifier": "sha256:0", "tags": ["cslr/redis:of-another-version"]}
        record.write_text(json.dumps(strange))
        assert "neither builds nor pulls" in ws(stack, "rollback", "1", code=1)
        record.write_text(kept)
        assert (stack.ids(), file(stack).read_text()) == (before, text)


class TestSecrets:
    def test_in_plain_text_are_in_no_record_and_survive_a_rollback(self, stack):
        for size in ("512m", "640m"):
            configured(stack, size)
            with file(stack).open("a") as opened:
                opened.write(f"  cslr:redisPassword: {SECRET}\n")
            ws(stack, "up", "--engine", "embedded")
        assert all(SECRET not in path.read_text() for path in (stack.state / "history").glob("*.json"))
        ws(stack, "rollback", "--yes")
        assert SECRET in file(stack).read_text()
        assert memory(stack) == 512


class TestDown:
    def test_is_in_the_history_and_can_be_rolled_back(self, stack):
        ws(stack, "down", "--yes")
        assert (history(stack)[-1]["operation"], history(stack)[-1]["outcome"]) == ("down", "done")
        assert "is not deployed" in ws(stack, "drift", code=1)
        ws(stack, "rollback", "--yes")
        assert stack.unhealthy() == {}

    def test_with_its_data_takes_the_history_away(self, stack):
        ws(stack, "down", "--volumes", "--yes")
        assert not stack.state.exists()
        assert "no history yet" in ws(stack, "history")
