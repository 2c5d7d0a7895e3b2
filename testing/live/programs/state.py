"""Keeps the cluster's state busy, and checks that nothing of it is lost: ``state.py SECONDS [FILE]``.

Ends after that many seconds, or as soon as the file exists.

An actor that counts, tasks, new actors, objects, and keys of the GCS's own store, each read again.
"""

import os
import sys
import time

import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.count = 0

    def increment(self):
        self.count += 1
        return self.count


@ray.remote(num_cpus=0)
def double(number):
    return 2 * number


ray.init(log_to_driver=False)
counter, objects, turn, longest = Counter.remote(), [], 0, 0.0
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and not any(map(os.path.exists, sys.argv[2:])):
    turn, began = turn + 1, time.monotonic()
    assert ray.get(counter.increment.remote(), timeout=120) == turn
    assert ray.get(double.remote(turn), timeout=120) == 2 * turn
    another = Counter.remote()
    assert ray.get(another.increment.remote(), timeout=120) == 1
    ray.kill(another)
    objects.append(ray.put(str(turn).encode() * 1000))
    _internal_kv_put(f"state-{turn}".encode(), str(turn).encode())
    longest = max(longest, time.monotonic() - began)
    for number in range(max(1, turn - 50), turn + 1):
        assert _internal_kv_get(f"state-{number}".encode()) == str(number).encode(), number
        assert ray.get(objects[number - 1]) == str(number).encode() * 1000, number
    print("beat", turn, f"longest turn {longest:.1f} s", flush=True)
    time.sleep(0.2)
print("kept:", turn)
