"""The inventory of an image, taken by the program that runs in it."""

import importlib.metadata
import json
import platform
import subprocess
import sys

from build_report.contents import INVENTORY
from testing.build_report_builds import MB


class TestInventory:
    def test_lists_the_packages_of_the_interpreter_that_runs_it(self):
        done = subprocess.run([sys.executable, "-c", INVENTORY.read_text()], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        assert found["python"] == platform.python_version()
        assert found["packages"]["pydantic"][0] == importlib.metadata.version("pydantic")
        assert found["packages"]["pydantic"][1] > MB

    def test_asks_torch_without_importing_it_and_counts_linked_files_once(self, tmp_path):
        (tmp_path / "torch").mkdir()
        (tmp_path / "torch" / "version.py").write_text(
            "from typing import Optional\n__version__ = '2.13.0+cu130'\ndebug = False\ncuda: Optional[str] = '13.0'\n"
        )
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "library.so").write_bytes(bytes(1000))
        (tmp_path / "linked").symlink_to("real")
        for name, folder in (("one", "real"), ("two", "linked")):
            information = tmp_path / f"{name}-1.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
            (information / "RECORD").write_text(f"{folder}/library.so,,\n")
        command = [sys.executable, "-c", INVENTORY.read_text()]
        environment = {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found = json.loads(done.stdout)
        assert found["torch"] == {"__version__": "2.13.0+cu130", "cuda": "13.0"}
        assert sorted((found["packages"]["one"][1], found["packages"]["two"][1])) == [0, 1000]
