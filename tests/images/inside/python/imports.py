"""Every module that a locked distribution brings can be imported, in one process."""

import importlib
import importlib.metadata
import json
import os
from collections.abc import Iterator

SECONDS = 150
LOCKED = json.loads(os.environ["CSLR_SUBJECT"])["versions"]
# GitPython refuses to be imported where there is no git, and this is its own way to say that this is meant.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def modules(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    """The top-level modules and packages of a distribution, from the list of its files."""
    for file in distribution.files or ():
        top, is_module = file.parts[0], file.suffix in {".py", ".so"}
        if len(file.parts) == 1 and is_module:
            yield top.split(".")[0]
        elif is_module and top.isidentifier() and top != "__pycache__":
            yield top


def failure(module: str) -> str:
    """Why a module cannot be imported; empty if it can."""
    try:
        importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001  (some modules exit, or panic)
        return f"{type(error).__name__}: {error}"
    return ""


def check_every_locked_package_can_be_imported() -> None:
    """Together, so that packages that do not bear each other are found as well."""
    found = {(name, module) for name in LOCKED for module in modules(importlib.metadata.distribution(name))}
    assert found
    failures = {f"{module} of {name}": why for name, module in sorted(found) if (why := failure(module))}
    assert not failures, failures
