"""Prints a lot: ``prints.py task|actor|driver|stderr|subprocess MEGABYTES``."""

import subprocess
import sys

import ray

way, megabytes = sys.argv[1], int(sys.argv[2])
LINE = "a line of progress, as loops print them by the million " * 18  # some 1 kB


def say(stream=None):
    for _ in range(megabytes):
        print("\n".join([LINE] * (2**20 // len(LINE))), file=stream or sys.stdout)
    return megabytes


@ray.remote
class Talker:
    def say(self):
        return say()


ray.init(log_to_driver=False)
if way == "driver":
    say()
elif way == "stderr":
    ray.get(ray.remote(lambda: say(sys.stderr)).remote())
elif way == "actor":
    ray.get(Talker.remote().say.remote())
elif way == "subprocess":
    command = ["sh", "-c", f"head -c {megabytes * 2**20} /dev/zero | tr '\\0' 'x' | fold -w 1000"]
    ray.get(ray.remote(lambda: subprocess.run(command, check=True).returncode).remote())
else:
    ray.get(ray.remote(say).remote())
print("\nprinted:", megabytes, "MB")
