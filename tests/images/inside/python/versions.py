"""The installed distributions are those of the lock files, at their versions, and nothing else."""

import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path

SUBJECT = json.loads(os.environ["CSLR_SUBJECT"])
LOCKED: dict[str, str] = SUBJECT["versions"]


def installed() -> dict[str, str]:
    """Distribution → version, named as lock files do."""
    found = importlib.metadata.distributions()
    return {re.sub(r"[-_.]+", "-", item.name).lower(): item.version for item in found}


def check_python_is_the_variants() -> None:
    """To the minor version, which is what compiled packages are tied to."""
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == SUBJECT["python"]


def check_every_locked_version_is_installed() -> None:
    """Neither missing nor another."""
    found = installed()
    wrong = {name: (version, found.get(name)) for name, version in LOCKED.items() if found.get(name) != version}
    assert not wrong, f"package: (locked, installed) {wrong}"


def check_nothing_else_is_installed() -> None:
    """What no lock file pins changes behind everybody's back."""
    assert installed().keys() - LOCKED.keys() == set()


def check_every_program_has_its_interpreter() -> None:
    """An entry point names the Python it was installed for."""
    broken = []
    for path in filter(Path.is_file, Path(sys.executable).parent.iterdir()):
        with path.open("rb") as file:
            first = file.readline(512).decode(errors="replace")
        words = first[2:].split()
        if first.startswith("#!") and words and not Path(words[0]).exists():
            broken.append((path.name, words[0]))
    assert not broken, f"(program, interpreter that is not there): {broken}"
