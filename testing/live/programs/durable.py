"""Keeps what it did where it outlives the node: ``durable.py NAME`` until stopped, ``durable.py NAME read`` once.

A detached actor that writes each count down before it answers, a task that is tried again and saves a file, and a key
of the GCS's own store, for one number after the other. Each that is in all three places is reported with the time at
which it was begun; `read` prints what is in each place.
"""

import os
import sys
import time
from pathlib import Path

import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list, _internal_kv_put

TIMEOUT = 60  # seconds for one answer, after which this program ends, and is submitted again
name, reads = sys.argv[1], sys.argv[2:] == ["read"]
FOLDER = Path.home() / name


def to_disk(path, text, mode):
    with path.open(mode) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.counted = set(path.read_text().split()) if path.exists() else set()

    def count(self, number):
        if number not in self.counted:  # a call that is repeated counts once
            to_disk(self.path, f"{number}\n", "a")
            self.counted.add(number)

    def all(self):
        return sorted(self.counted)


@ray.remote(num_cpus=0, max_retries=-1)
def save(folder, number):
    to_disk(folder / f"saved-{number}", number, "w")


ray.init(namespace=name, log_to_driver=False)
counter = Counter.options(name="counter", lifetime="detached", get_if_exists=True).remote(FOLDER / "counted")
if reads:
    for number in ray.get(counter.all.remote(), timeout=TIMEOUT):
        print("counted", number)
    for path in sorted(FOLDER.glob("saved-*")):
        print("saved", path.read_text())
    for key in _internal_kv_list(f"{name}-"):
        print("stored", _internal_kv_get(key).decode())
    print("read: all")
    sys.exit()
while True:
    began = time.monotonic()
    number = f"{time.time_ns()}"
    ray.get(counter.count.remote(number), timeout=TIMEOUT)
    ray.get(save.remote(FOLDER, number), timeout=TIMEOUT)
    _internal_kv_put(f"{name}-{number}", number)
    print("done:", number, began, flush=True)
    time.sleep(0.5)
