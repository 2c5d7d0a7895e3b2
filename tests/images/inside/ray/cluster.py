"""A Ray cluster of one node, as `ray start` makes it, and what runs on it."""

import atexit
import functools
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import ray

SECONDS = 180
HERE = "127.0.0.1"  # there may be no other address
OBJECT_STORE = 100 * 1024**2
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"

CLIENT = """
import sys, ray
ray.init(sys.argv[1])
print(ray.get(ray.remote(lambda x: x + 1).remote(41)))
"""


def free_ports(count: int) -> list[int]:
    """TCP ports without a listener, all different."""
    sockets = [socket.create_server((HERE, 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


@functools.cache
def started() -> dict[str, int]:
    """Start the head and connect to it, once. Its ports."""
    gcs, client, dashboard = free_ports(3)
    command = [sys.executable, "-m", "ray.scripts.scripts"]
    start = [
        "start", "--head", f"--node-ip-address={HERE}", f"--port={gcs}", f"--ray-client-server-port={client}",
        f"--dashboard-host={HERE}", f"--dashboard-port={dashboard}", "--num-cpus=2", "--disable-usage-stats",
        f"--object-store-memory={OBJECT_STORE}", f"--temp-dir={tempfile.mkdtemp(prefix='ray-')}",
    ]  # fmt: skip
    # As entrypoints/ray/launcher.py has it, which says why: without it the client server crashes at times.
    environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}
    done = subprocess.run([*command, *start], env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    atexit.register(subprocess.run, [*command, "stop", "--force"], capture_output=True, timeout=30, check=False)
    ray.init(f"{HERE}:{gcs}", log_to_driver=False)
    return {"gcs": gcs, "client": client, "dashboard": dashboard}


def check_starts_and_runs_a_task() -> None:
    """In a worker process of its own."""
    started()
    pid = ray.remote(lambda: os.getpid()).remote()
    assert ray.get(pid, timeout=60) != os.getpid()


def check_actor_keeps_its_state() -> None:
    """Over several calls."""
    started()

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def add(self) -> int:
            self.count += 1
            return self.count

    actor: Any = ray.remote(Counter).remote()
    assert ray.get([actor.add.remote() for _ in range(3)], timeout=60) == [1, 2, 3]


def check_tensors_pass_through_the_object_store() -> None:
    """Too large to travel inline."""
    import torch

    started()
    tensor = torch.arange(1_000_000.0)
    total = ray.remote(lambda x: x.sum().item()).remote(ray.put(tensor))
    assert ray.get(total, timeout=60) == tensor.sum().item()


def check_data_is_mapped_and_summed() -> None:
    """ray.data, with pandas and pyarrow."""
    import ray.data

    started()
    ray.data.DataContext.get_current().enable_progress_bars = False
    doubled = ray.data.range(100, override_num_blocks=1).map_batches(lambda batch: {"id": batch["id"] * 2})
    assert doubled.sum("id") == 9900


def check_train_tune_and_serve_can_be_imported() -> None:
    """With what they are for: torch."""
    import ray.serve
    import ray.train.torch
    import ray.tune

    assert all(map(callable, (ray.train.torch.TorchTrainer, ray.tune.Tuner, ray.serve.deployment)))


def check_client_server_answers() -> None:
    """To a process that speaks Ray Client, as from another host."""
    address = f"ray://{HERE}:{started()['client']}"
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, address], capture_output=True, text=True, timeout=90, check=False
    )
    if done.stdout.split()[-1:] != ["42"]:
        # What the client is told names a log file, which is gone with the container.
        logs = sorted(Path(tempfile.gettempdir()).glob("ray-*/session_latest/logs/ray_client_server*"))
        said = "".join(f"\n{log.name}:\n{log.read_text(errors='replace')[-2000:]}" for log in logs)
        raise AssertionError(done.stdout + done.stderr + said)


def check_dashboard_answers() -> None:
    """With the version that runs."""
    with urllib.request.urlopen(f"http://{HERE}:{started()['dashboard']}/api/version", timeout=30) as answer:
        assert ray.__version__ in answer.read().decode()
