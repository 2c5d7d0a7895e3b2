"""Another user's work, which nothing may disturb: an actor that counts, and a task for each count."""

import sys
import time

import ray

ray.init(log_to_driver=False)


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


counter = Counter.remote()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    count = ray.get(counter.increment.remote(), timeout=60)
    assert ray.get(double.remote(count), timeout=60) == 2 * count
    print("beat", count, flush=True)
    time.sleep(0.5)
