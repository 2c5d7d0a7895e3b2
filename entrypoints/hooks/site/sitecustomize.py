"""Python imports this when it starts, in every process of a Ray container: it installs the platform's hooks into Ray.

The folder of this file is first on PYTHONPATH (components/ray.py). It costs a Python without Ray nothing but this.
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
    """Let the hooks wait for the modules of Ray that they change."""
    package = ModuleType(PACKAGE)
    package.__path__ = [str(HERE.parent)]
    sys.modules[PACKAGE] = package
    try:
        importlib.import_module(f"{PACKAGE}.registry").install()
    except ImportError as error:
        print(f"[ray-hooks] not installed: {error}", file=sys.stderr, flush=True)


def run_the_next_one() -> None:
    """Run the sitecustomize of the image or of the user, which this one stands before."""
    path = [folder for folder in sys.path if Path(folder or ".").resolve() != HERE]
    found = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if found and found.loader:
        found.loader.exec_module(importlib.util.module_from_spec(found))


install_hooks()
run_the_next_one()
