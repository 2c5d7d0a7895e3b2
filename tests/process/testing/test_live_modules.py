"""The live test modules that there are may run side by side. Importing them asks for Docker Compose, a process."""

from importlib import import_module

from testing.harness import PROJECT
from testing.live.groups import collisions, group_of


def test_no_two_of_them_use_one_network_or_port():
    """Found here, since a run in parallel says only that a worker has ended."""
    names = sorted(path.stem for path in (PROJECT / "tests/live").glob("test_*.py"))
    assert len(names) > 20
    assert collisions([(group_of(f"{name}.py"), import_module(f"tests.live.{name}")) for name in names]) == []
