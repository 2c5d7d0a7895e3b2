"""Saves files in the home folder, and reports each once it is on disk: ``keep.py FOLDER COUNT MEGABYTES``."""

import hashlib
import os
import sys
import time
from pathlib import Path

import ray


def save(folder, number, size):
    folder.mkdir(parents=True, exist_ok=True)
    path, content = folder / f"part-{number}.bin", os.urandom(size)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return path, hashlib.sha256(content).hexdigest()


ray.init(log_to_driver=False)
folder, count, size = Path.home() / sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) * 2**20
for number in range(count):
    path, digest = ray.get(ray.remote(save).remote(folder, number, size))
    print("saved:", path, digest, flush=True)
    time.sleep(1)
print("kept:", count)
