"""A job of several parts as one that Ray's Jobs API can start: the program in gang/ holds the parts and runs each."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).with_suffix("") / "cslr_queue_gang.py"
ENTRYPOINT = f"python -m {PROGRAM.stem}"
VARIABLE = "CSLR_QUEUE_GANG"  # what the program is to do
BEGINNING = (1980, 1, 1, 0, 0, 0)  # of a zip's time, so that the same program is the same package


@dataclass(frozen=True, kw_only=True)
class Package:
    """The program, as Ray sends it to the nodes of a job."""

    name: str
    content: bytes


def package() -> Package:
    """The program's package."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(PROGRAM.name, BEGINNING), PROGRAM.read_bytes())
    content = buffer.getvalue()
    return Package(name=hashlib.sha256(content).hexdigest(), content=content)


def order(command: str, nodes: Sequence[str], each: Mapping[str, float]) -> str:
    """What the program is told: the command, the ids of the nodes, and what each part holds."""
    held = {resource: amount for resource, amount in each.items() if amount}
    return json.dumps({"command": command, "nodes": list(nodes), "each": held})
