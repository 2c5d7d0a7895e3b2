"""Installs the platform's hooks in every Python process of a Ray container: Python imports this module when it starts.

This file's folder is first on PYTHONPATH (components/ray.py). A Python without Ray pays only for this import.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
# Not `entrypoints`: a package of that name exists, and users' programs may import it.
PACKAGE = "cslr_hooks"


def install_hooks() -> None:
    """Install the hooks, which wait for the modules that they change."""
    package = ModuleType(PACKAGE)
    package.__path__ = [str(HERE.parent)]
    sys.modules[PACKAGE] = package
    try:
        importlib.import_module(f"{PACKAGE}.registry").install()
    except ImportError as error:
        print(f"[ray-hooks] not installed: {error}", file=sys.stderr, flush=True)


def run_the_next_one() -> None:
    """Run the sitecustomize of the image or the user, which this one hides."""
    path = [folder for folder in sys.path if Path(folder or ".").resolve() != HERE]
    found = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if found and found.loader:
        found.loader.exec_module(importlib.util.module_from_spec(found))


install_hooks()
run_the_next_one()
