"""Takes more memory than the node has, and reports how that ended: ``memory.py WAY GIGABYTES``.

In a task without retries, as people see it; `eight` are eight tasks at once.
"""

import subprocess
import sys
import time
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import ray

way, size = sys.argv[1], int(float(sys.argv[2]) * 2**30)


def fast():
    return int(np.ones(size, dtype=np.uint8).sum())


def slow():
    kept, taken = [], 0
    while taken < size:
        kept.append(bytearray(b"\1" * 2**22))
        taken += 2**22
        time.sleep(0.001)
    return len(kept)


def python_child():
    program = f"import numpy; print(numpy.ones({size}, dtype=numpy.uint8).sum())"
    return subprocess.run([sys.executable, "-c", program], check=True).returncode


def shell_child():
    return subprocess.run(["sh", "-c", f"head -c {size} /dev/zero | tail | wc -c"], check=True).returncode


def shm_file():
    path = Path("/dev/shm/of-a-task")
    try:
        with path.open("wb") as file:
            for _ in range(size >> 20):
                file.write(b"\1" * 2**20)
        return path.stat().st_size
    finally:
        path.unlink(missing_ok=True)


def shm_module():
    block = shared_memory.SharedMemory(create=True, size=size)
    try:
        np.frombuffer(block.buf, dtype=np.uint8)[:] = 1
        return block.size
    finally:
        block.close()
        block.unlink()


def growing_actor():
    return ray.get(ray.remote(num_cpus=0, max_restarts=0)(Hoarder).remote().hoard.remote())


class Hoarder:
    def hoard(self):
        return slow()


WAYS = {
    "fast": fast, "slow": slow, "python_child": python_child, "shell_child": shell_child, "shm_file": shm_file,
    "shm_module": shm_module, "actor": growing_actor, "eight": fast,
}  # fmt: skip
ray.init()
if way == "driver":
    fast()
work = ray.remote(num_cpus=0.25, max_retries=0)(WAYS[way])
for reference in [work.remote() for _ in range(8 if way == "eight" else 1)]:
    try:
        print("took:", ray.get(reference))
    except ray.exceptions.RayError as error:
        print("failed:", type(error).__name__, " ".join(str(error).split())[:1500])
time.sleep(3)  # what a worker wrote last comes to its driver after a while
print("the driver lives on")
