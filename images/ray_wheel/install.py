"""Replaces the image's Ray by the build that a stack names, and refuses one that does not fit: ``install.py ray``.

Runs inside the Dockerfile's RUN with the image's own Python, as root. The wheel is mounted below ``/tmp/wheel``, or
downloaded; its digest must be the one of the stack file. Nothing else is installed: what the wheel needs must be in the
image.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from images.packages.install import CACHE, VENV, finish, run

MOUNTED = Path("/tmp/wheel")  # noqa: S108 (a mount of the build)
# What the images install Ray with; what an extra besides needs, such as a cloud's client, an image need not hold.
EXTRAS = ("", "default")
# Prints what the installed Ray needs: each requirement, the extra that it belongs to, and the version that is there.
LOOK = """
import json
from importlib.metadata import PackageNotFoundError, metadata, version
from packaging.requirements import Requirement

found = []
for text in metadata("ray").get_all("Requires-Dist") or ():
    one = Requirement(text)
    extras = [extra for extra in ("", "default", "data", "train", "tune", "serve")
              if one.marker is None or one.marker.evaluate({"extra": extra})]
    if not extras:
        continue
    try:
        there = version(one.name)
    except PackageNotFoundError:
        there = None
    fits = there is not None and one.specifier.contains(there, prereleases=True)
    found.append([str(one).partition(";")[0].strip(), extras[0], there, fits])
print(json.dumps({"version": version("ray"), "needs": found}))
"""


def main() -> int:
    """Install; return the exit status."""
    started = time.time() - 0.1  # the clock of files is coarser than this one
    try:
        install(os.environ)
        found = json.loads(run(VENV / "bin/python", "-c", LOOK, quiet=True))
    except subprocess.CalledProcessError as error:
        print(f"ray: {Path(error.cmd[0]).name} failed with status {error.returncode}", file=sys.stderr)
        return 1
    if wrong := list(problems(found["version"], os.environ["RAY_VERSION"], found["needs"])):
        print(f"ray: this build does not fit the image: {'; '.join(wrong)}", file=sys.stderr)
        return 1
    finish(started)
    return 0


def install(environment: Mapping[str, str]) -> None:
    """The wheel, and nothing besides."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirement(environment, sorted(MOUNTED.glob("*.whl"))))
        file.flush()
        run(
            *(VENV / "bin/uv", "pip", "install", "--no-config", "--no-deps", "--no-progress", "--link-mode=copy"),
            *("--require-hashes", f"--python={VENV}", f"--cache-dir={CACHE}", "--reinstall-package=ray", "--no-index"),
            f"--requirement={file.name}",
        )


def requirement(environment: Mapping[str, str], mounted: list[Path]) -> str:
    """The line that pip's and uv's requirements have for the wheel."""
    address = environment.get("WHEEL_URL") or f"file://{mounted[0]}"
    return f"ray @ {address} --hash=sha256:{environment['WHEEL_SHA256']}\n"


def problems(version: str, wanted: str, needs: Iterable[tuple[str, str, str | None, bool]]) -> Iterator[str]:
    """Why the wheel does not fit. `needs`: requirement, the extra that it belongs to, what is there, and if it fits."""
    if version != wanted:
        yield f"it is {version}, not the {wanted} that the stack file says"
    for text, extra, there, fits in needs:
        if there is None and extra in EXTRAS:
            yield f"it needs {text}, which the image has not"
        elif there is not None and not fits:
            yield f"it needs {text}, and the image has {there}"


if __name__ == "__main__":
    sys.exit(main())
