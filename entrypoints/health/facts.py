"""Reads the facts that commands on the host left (contracts/facts.py)."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from contracts.document import DocumentError, load

Fact = TypeVar("Fact")


def fact(folders: Iterable[Path], name: str, kind: type[Fact]) -> Fact | None:
    """A fact by its name; None where nobody has written it, or another version of the platform has."""
    for folder in folders:
        try:
            return load(kind, (folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, DocumentError):
            continue
    return None
