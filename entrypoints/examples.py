"""The examples that people find where they work. Standard library only, Python 3.10 or newer."""

import shutil
import zipfile
from pathlib import Path

ARCHIVE = "/run/cslr/examples.zip"
NAME = "examples"


def unpack(archive: Path, folder: Path) -> None:
    """Unpack them into a folder. Raises OSError, or BadZipFile."""
    if not archive.is_file():
        return
    unpacked = folder / f".{NAME}"  # not seen as a notebook: whoever is cut off here begins again
    shutil.rmtree(unpacked, ignore_errors=True)
    with zipfile.ZipFile(archive) as content:
        content.extractall(unpacked)
    unpacked.rename(folder / NAME)
