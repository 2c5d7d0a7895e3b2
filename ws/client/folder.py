"""Writes a bundle into a folder of its own, and nothing into any other."""

import json
from pathlib import Path

from stack.state import make_closed, write_atomically
from ws.client.bundle import ALL_FILES, FACTS, MADE_BY, Bundle
from ws.errors import WsError

CLOSED = 0o700


def write(bundle: Bundle, folder: Path) -> None:
    """Writes the files, and removes those of an earlier bundle that this one does not have.

    Files of the person's own, such as an environment of Python, stay. Raises `WsError` for a folder that is no bundle.
    """
    _refuse_other(folder)
    files = bundle.files()
    make_closed(folder)
    folder.chmod(CLOSED)
    # The facts first: where this stops half-way, the folder is known as a bundle when it is written again.
    for name in sorted(files, key=lambda name: name != FACTS):
        write_atomically(folder / name, files[name].data, files[name].mode)
    for name in ALL_FILES - files.keys():
        (folder / name).unlink(missing_ok=True)


def _refuse_other(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise WsError(f"{folder} is not a folder. Name another: --output FOLDER")
    if folder.is_dir() and any(folder.iterdir()) and not _is_bundle(folder):
        raise WsError(
            f"{folder} is neither empty nor a bundle of `ws client`, so nothing was written. "
            "Name another folder: --output FOLDER"
        )


def _is_bundle(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / FACTS).read_text(encoding="utf-8"))["made_by"] == MADE_BY)
    except (OSError, ValueError, KeyError, TypeError):
        return False
