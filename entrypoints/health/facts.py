"""Reads the facts that commands on the host left (contracts/facts.py)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from contracts import facts
from contracts.document import DocumentError, load
from coordination.regular_file import read_text

Fact = TypeVar("Fact")
# Facts by their names, and what they hold.
KINDS: dict[str, type[Any]] = {
    facts.VERIFICATION: facts.VerificationFact,
    facts.BUILDS: facts.Builds,
    facts.HISTORY: facts.PastRuns,
    facts.DRIFT: facts.DriftFact,
    **dict.fromkeys((facts.BASES, facts.BACKUP, facts.CERTIFICATES), facts.Times),
}


def fact(folders: Iterable[Path], name: str, kind: type[Fact]) -> Fact | None:
    """A fact by its name; None where nobody has written it, or it cannot be read, which `unreadable` tells."""
    for folder in folders:
        try:
            return _read(folder, name, kind)
        except (OSError, ValueError):  # DocumentError is one
            continue
    return None


def unreadable(folders: Iterable[Path]) -> dict[str, str]:
    """Facts that somebody has written, and that cannot be read: name → what is wrong."""
    found = {}
    for folder in folders:
        for name, kind in KINDS.items():
            try:
                _read(folder, name, kind)
            except FileNotFoundError:
                continue
            except DocumentError as error:
                found[name] = str(error)
            except (OSError, ValueError) as error:
                found[name] = f"{folder / f'{name}.json'}: {error}"
    return found


def _read(folder: Path, name: str, kind: type[Fact]) -> Fact:
    return load(kind, read_text(folder / f"{name}.json"))
