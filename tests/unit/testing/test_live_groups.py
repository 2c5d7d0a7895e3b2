"""Live tests that run side by side share nothing: how their groups are told apart, and how a collision is found."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

from testing.harness import merged
from testing.live.deployment import FULL, SMALL
from testing.live.groups import collisions, group_of, ordered, strangers


def item(module: str, *fixtures: str):
    path = Path(f"tests/live/{module}.py")
    return SimpleNamespace(nodeid=f"{path}::TestX::test_y", path=path, fixturenames=list(fixtures))


def module(**settings: object) -> ModuleType:
    made = ModuleType("test_x")
    vars(made).update(settings)
    return made


class TestGroups:
    def test_are_modules_or_what_uses_one_deployment(self):
        assert group_of("tests/live/test_uploads.py::TestX::test_y[a::b]") == "test_uploads"
        assert group_of("tests/live/test_security.py::test_y") == group_of("tests/live/test_teardown.py::test_y")
        assert group_of("tests/live/test_keeper.py::test_y") == group_of("tests/live/test_interruptions.py::test_y")

    def test_stay_together_and_the_longest_are_first(self):
        items = [item(name) for name in ("test_a", "test_keeper", "test_b", "test_lifecycle", "test_interruptions")]
        found = [it.path.stem for it in ordered(items)]
        assert found == ["test_lifecycle", "test_a", "test_keeper", "test_interruptions", "test_b"]

    def test_have_every_module_that_uses_their_deployment(self):
        assert strangers([item("test_keeper", "small"), item("test_uploads", "stack")]) == []
        assert strangers([item("test_new", "small"), item("test_new", "small")]) == [
            "test_new.py belongs to the group small"
        ]


class TestCollisions:
    def test_of_networks_and_ports_are_named(self):
        one = module(SETTINGS=merged(FULL, {"network": {"subnet": "10.1.0.0/24"}, "redis": {"port": 1000}}))
        (network, *ports) = sorted(
            collisions([("one", one), ("other", module(WORK={"network": {"subnet": "10.1.0.0/24"}}))])
        )
        assert network == "10.1.0.0/24: one, other"
        assert "port 1000" not in " ".join(ports)
        assert f"port {FULL['health']['port']}: one, platform" in ports
        assert f"port {FULL['ray']['cpu']['ports']['client']}: one, platform" in ports

    def test_are_none_within_a_group_nor_with_what_a_module_only_imports(self):
        own = {"network": {"subnet": "10.1.0.0/24"}, "redis": {"port": 1000}}
        modules = [("one", module(FIRST=own, FULL=FULL, SMALL=SMALL)), ("one", module(SECOND=dict(own)))]
        assert collisions(modules) == []
