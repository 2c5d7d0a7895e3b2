"""Output of `ws --version`: versions of the project and of the software in its images."""

import tomllib

from config.project import FOLDER, commit
from images.packages_lock import held
from images.variants import DEFAULT_VARIANT


def version() -> str:
    """One line: version, commit, Ray."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    parts = [f"{project['name']} {project['version']}", f"Ray {held(DEFAULT_VARIANT)['ray']}"]
    found = commit()
    return ", ".join([parts[0], *([f"commit {found}"] if found else []), parts[1]])
