"""``python -P engine_run.py METHOD STACK [JSON of keywords]``: one call of the embedded engine, the answer as JSON.

A program of its own, because a process can import one copy of the project only. What the engine says goes to stderr.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path

from config.encryption import Passphrase
from config.stack_file import StackFile
from embedded_engine.deployment import Change
from embedded_engine.run import Engine, Result


class Transcript:
    """A display that says everything."""

    def started(self, change: Change) -> None:
        self.progress(change, f"{change.action} {change.reasons}")

    def progress(self, change: Change, text: str) -> None:
        sys.stderr.write(f"{change.name}: {text}\n")

    def ended(self, change: Change) -> None:
        self.progress(change, change.error or "done")

    def interrupted(self) -> None:
        sys.stderr.write("interrupted\n")


method, stack, *keywords = sys.argv[1:]
config = StackFile.read(Path.cwd(), stack, Passphrase(os.environ)).config
answer = getattr(Engine(Path.cwd(), config, Transcript()), method)(**json.loads(*keywords or ["{}"]))
sys.stdout.write(json.dumps(dataclasses.asdict(answer) if isinstance(answer, Result) else answer))
