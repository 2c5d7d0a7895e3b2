"""``command:local:Command``: runs a program on this host, and runs it again whenever its inputs change.

The output is kept in the state folder. That is a cache, not state: if it is lost, the command runs again.
"""

import hashlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from embedded_engine.registration import Registration
from embedded_engine.resources.base import Actual, Progress, ResourceError
from stack.identity import LEAVES_IMAGE
from stack.state import write_atomically

TAIL_LINES = 120  # the verification's table and the ends of three logs
POLL_SECONDS = 0.5


class Command:
    """A command; the last line that it writes to standard error is its progress."""

    replaces = False
    replaces_dependents = ""
    replaced_with_dependencies = False
    inputs = frozenset({"addPreviousOutputInEnv", "create", "dir", "environment", "logging", "triggers"})

    def __init__(self, folder: Path, has_image: Callable[[str], bool], cancelled: threading.Event) -> None:
        self._folder = folder
        self._cancelled = cancelled
        self._has_image = has_image

    def read(self, wanted: Registration) -> Actual | None:
        """The output of its last successful run."""
        image = wanted.inputs.get("environment", {}).get(LEAVES_IMAGE)
        if image and not self._has_image(image):
            return None  # it was pruned since
        path = self._record(wanted)
        try:
            record = json.loads(path.read_text())
            return Actual(identifier=path.stem, outputs=record["outputs"], inputs=record["inputs"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def create(self, wanted: Registration, _: Actual | None, progress: Progress) -> Actual:
        """Runs it until it ends or the deployment is interrupted."""
        progress("running")
        path = self._record(wanted)
        path.unlink(missing_ok=True)
        inputs = wanted.inputs
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        with tempfile.TemporaryFile("w+") as answer:
            process = subprocess.Popen(
                ["/bin/sh", "-c", inputs["create"]],
                cwd=inputs.get("dir"),
                env={**os.environ, **inputs.get("environment", {})},
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            threading.Thread(target=self._end_if_cancelled, args=(process,), daemon=True).start()
            for line in process.stderr or ():
                tail.append(line.rstrip())
                if not self._cancelled.is_set():
                    progress(line.strip())
            code = process.wait()
            answer.seek(0)
            stdout = answer.read()
        if code != 0:
            raise ResourceError("\n".join(tail) or stdout.strip() or f"ended with exit code {code}")
        outputs = {"stdout": stdout.rstrip("\n"), "stderr": "\n".join(tail)}
        write_atomically(path, json.dumps({"inputs": wanted.recorded, "outputs": outputs}).encode(), 0o600)
        return Actual(identifier=path.stem, outputs=outputs, inputs=wanted.recorded)

    def delete(self, actual: Actual, progress: Progress) -> None:
        """Forgets its output."""
        progress("forgetting")
        (self._folder / f"{actual.identifier}.json").unlink(missing_ok=True)

    def _end_if_cancelled(self, process: "subprocess.Popen[str]") -> None:
        while process.poll() is None:
            if self._cancelled.wait(POLL_SECONDS):
                os.killpg(process.pid, signal.SIGTERM)
                return

    def _record(self, wanted: Registration) -> Path:
        return self._folder / f"{wanted.name}-{hashlib.sha256(wanted.urn.encode()).hexdigest()[:8]}.json"
