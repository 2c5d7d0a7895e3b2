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
        with self.started(*words) as process:
            said, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, errors)

    def started(self, *words: str, typed: str = "") -> subprocess.Popen[str]:
        """The same while it runs; `typed`: what it finds on its standard input."""
        environment = {**os.environ, "XDG_STATE_HOME": str(self.folder.parent / "state")}
        stack = () if "--stack" in words else ("--stack", STACK)
        command = [sys.executable, "-m", "ws", *words, *stack]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(typed)
        process.stdin.close()
        process.stdin = None  # `communicate` would close it again
        return process
