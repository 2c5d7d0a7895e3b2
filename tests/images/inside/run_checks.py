"""Runs the checks of one program and prints one line of JSON for each.

    python -P run_checks.py PROGRAM.py

Runs where the program's subject is, in an image or in an environment, with the Python of that place, and imports
nothing but the standard library. CSLR_SUBJECT in the environment says what the place should hold, as JSON.

A check is a function ``check_…``: it returns when all is well, raises SkipTest with the reason where it cannot tell,
and any other exception where something is wrong. One with a parameter ``device`` runs for ``cpu`` and for ``cuda``.
"""

import importlib.util
import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TextIO
from unittest import SkipTest

PREFIX = "check_"
DEVICES = ("cpu", "cuda")
GPU_DRIVER = Path("/proc/driver/nvidia/version")
GPU_DEVICE = Path("/dev/nvidiactl")


def load(path: Path) -> ModuleType:
    """Return the program as a module. It is registered, because triton reads the source of its functions."""
    spec = importlib.util.spec_from_file_location(f"checks_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def bound_to(check: Callable[[str], None], device: str) -> Callable[[], None]:
    """Return the check for one device. A host with a GPU that torch does not find is no reason to skip."""

    def run() -> None:
        if device == "cuda" and not (GPU_DRIVER.exists() or GPU_DEVICE.exists()):
            raise SkipTest("there is no NVIDIA GPU here")
        check(device)

    return run


def checks_of(program: ModuleType) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield each check by its name, in the program's order. The host derives the same names from the source."""
    for name, value in list(vars(program).items()):
        if not name.startswith(PREFIX):
            continue
        if "device" in inspect.signature(value).parameters:
            for device in DEVICES:
                yield f"{name.removeprefix(PREFIX)}-{device}", bound_to(value, device)
        else:
            yield name.removeprefix(PREFIX), value


def outcome(check: Callable[[], None]) -> tuple[str, str]:
    """Run a check. Its result and the reason for it."""
    try:
        check()
    except SkipTest as reason:
        return "skip", str(reason)
    except BaseException:  # noqa: BLE001  (pyo3's panics and SystemExit are failures too)
        return "fail", traceback.format_exc()
    return "pass", ""


def run(path: Path, report: TextIO) -> None:
    """Run all checks of a program, each reported as soon as it ended."""
    for name, check in checks_of(load(path)):
        began = time.monotonic()
        result, detail = outcome(check)
        line = {"check": name, "result": result, "detail": detail, "seconds": round(time.monotonic() - began, 2)}
        print(json.dumps(line), file=report, flush=True)


if __name__ == "__main__":
    # What libraries print must not mix with the report.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as own_output:
        os.dup2(2, 1)
        run(Path(sys.argv[1]), own_output)
