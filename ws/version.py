"""Output of `ws --version`: versions of the project and of the software in its images."""

import subprocess
import tomllib

from config.project import FOLDER
from images.packages_lock import held
from images.variants import DEFAULT_VARIANT

SECONDS = 5  # that git may take


def version() -> str:
    """One line: version, commit, Ray."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    parts = [f"{project['name']} {project['version']}", *_commit(), f"Ray {held(DEFAULT_VARIANT)['ray']}"]
    return ", ".join(parts)


def _commit() -> list[str]:
    """The commit that the files are of; none where they came without git."""
    command = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty=, with changes", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [f"commit {done.stdout.strip()}"]
