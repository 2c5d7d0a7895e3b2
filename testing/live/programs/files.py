"""Writes a large file: ``files.py WHERE MEGABYTES``; WHERE is `temporary`, `home` or a folder. In a task."""

import os
import sys
import tempfile
from pathlib import Path

import ray

where, megabytes = sys.argv[1], int(sys.argv[2])


def write():
    folder = {"temporary": tempfile.gettempdir(), "home": str(Path.home())}.get(where, where)
    path = Path(folder, f"large-{os.getpid()}")
    try:
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(b"\1" * 2**20)
        return f"{path.stat().st_size >> 20} MB"
    finally:
        path.unlink(missing_ok=True)


ray.init(log_to_driver=False)
print("written:", ray.get(ray.remote(max_retries=0)(write).remote()))
