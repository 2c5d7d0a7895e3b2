"""A copy of the project with one stack, and `ws` in it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from testing.live.deployment import copy_project

STACK = "process"


@dataclass(frozen=True, kw_only=True)
class CopiedProject:
    """Its state folder is beside it, not this user's own."""

    folder: Path

    @classmethod
    def make(cls, at: Path, platform: dict[str, Any]) -> "CopiedProject":
        """A copy below `at`, whose stack has these settings."""
        folder = copy_project(at)
        config = {"cslr:platform": platform, "cslr:preflight": "false"}
        (folder / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump({"config": config}))
        return cls(folder=folder)

    def ws(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on the stack, unless the words name another."""
        environment = {**os.environ, "XDG_STATE_HOME": str(self.folder.parent / "state")}
        stack = () if "--stack" in words else ("--stack", STACK)
        command = [sys.executable, "-m", "ws", *words, *stack]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
