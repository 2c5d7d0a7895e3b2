"""Time limits of tests, including their fixtures: a hanging test fails with the stacks of all threads."""

import pytest

# folder below tests → seconds. The first of a session may build images: all but those of `unit` and `process`.
LIMITS = {"unit": 60, "process": 300, "images": 3000, "live": 3000, "cluster": 3000, "chaos": 3000}


def limit(path: str) -> int | None:
    """Seconds for a test in this file."""
    parts = path.split("/")
    return LIMITS.get(parts[1]) if parts[0] == "tests" and len(parts) > 1 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bounds every test that does not bound itself."""
    for item in items:
        seconds = limit(item.nodeid.split("::")[0])
        if seconds and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(seconds))
