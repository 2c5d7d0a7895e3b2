"""The exporter on a driver's library that says what a test wants."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.document import SETTINGS_VARIABLE, dump
from contracts.exporter import ExporterSettings
from testing.exporter import INTERVAL, Running
from testing.harness import PROJECT
from testing.servers import free_port

SOURCE = Path(__file__).with_name("fake_nvml.c")


@pytest.fixture(scope="session")
def nvml(c_compiler, tmp_path_factory) -> Path:
    """The folder with the fake library."""
    folder: Path = tmp_path_factory.mktemp("nvml")
    library = folder / "libnvidia-ml.so.1"
    flags = ("-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")
    subprocess.run([str(c_compiler), *flags, "-o", str(library), str(SOURCE)], check=True)
    return folder


@pytest.fixture
def driver(tmp_path) -> Path:
    """What the fake library is told: a folder of files."""
    folder: Path = tmp_path / "driver"
    folder.mkdir()
    return folder


@pytest.fixture
def start(nvml, driver) -> Iterator[Callable[..., Running]]:
    """Start an exporter with these settings; its GPUs are those of the fake library."""
    started: list[Running] = []

    def start_one(*, library: Path = nvml, **settings: Any) -> Running:
        port = free_port()
        document = ExporterSettings(**{"port": port, "interval": INTERVAL, "node_exporter": None, **settings})
        environment = os.environ | {
            SETTINGS_VARIABLE: dump(document),
            "LD_LIBRARY_PATH": str(library),
            "FAKE_NVML": str(driver),
        }
        command = [sys.executable, "-m", "entrypoints.exporter.server"]
        process = subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        running = Running(process, port)
        started.append(running)
        running.until(running.ready)
        return running

    yield start_one
    for running in started:
        running.process.kill()
        running.process.communicate()
