"""The source of the project, for tests that read it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from testing.harness import PROJECT


def host_modules() -> Iterator[Path]:
    """The modules of the host's programs: what containers run has an environment of its own."""
    packages = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    yield from (PROJECT / "__main__.py", PROJECT / "program.py")
    for package in sorted({*packages} - {"bench", "coordination", "entrypoints", "images", "testing"}):
        yield from sorted((PROJECT / package).rglob("*.py"))
