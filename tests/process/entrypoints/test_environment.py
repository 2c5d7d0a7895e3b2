"""Programs of containers whose settings are wrong: one line that names the variable, and no traceback."""

import os
import subprocess
import sys

import pytest

from contracts.document import SETTINGS_VARIABLE
from testing.harness import PROJECT

PROGRAMS = (
    "cluster_test", "exporter.server", "firewall", "gateway.gateway", "health.server", "keeper", "queue.server",
    "ray.agent", "ray.node", "ray.node_guard",
)  # fmt: skip


@pytest.mark.parametrize("settings", ["", '{"\x1b[2J": 1}'])
@pytest.mark.parametrize("program", PROGRAMS)
def test_wrong_settings_are_one_line(program, settings):
    done = subprocess.run(
        [sys.executable, "-m", f"entrypoints.{program}"], env={**os.environ, SETTINGS_VARIABLE: settings}, cwd=PROJECT,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    (line,) = (done.stdout + done.stderr).splitlines()
    assert SETTINGS_VARIABLE in line
    assert line.isprintable()
    assert done.returncode in (1, 2)
