"""Runs and times the measured commands."""

import os
import subprocess
from pathlib import Path


def run(folder: Path, *command: str, **environment: str) -> None:
    """Runs a command in a folder to its end. Raises `RuntimeError` with its output if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}")
