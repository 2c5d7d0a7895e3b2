"""The ledger of the soak: data that users were told is saved, and checks that it still is."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import requests


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that was saved. `is_there` returns what is wrong with it, empty where nothing is."""

    kind: str
    name: str
    is_there: Callable[[], str]


@dataclass
class Ledger:
    """All entries, written by the threads of several users."""

    _entries: list[Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    lost: dict[str, str] = field(default_factory=dict)  # name → what is wrong, as of the last look

    def add(self, entry: Entry) -> None:
        """Adds an entry that was just reported as saved."""
        with self._lock:
            self._entries.append(entry)

    def entries(self) -> list[Entry]:
        """All entries so far, the oldest first."""
        with self._lock:
            return list(self._entries)

    def counts(self) -> dict[str, int]:
        """Kind → how many."""
        counts: dict[str, int] = {}
        for entry in self.entries():
            counts[entry.kind] = counts.get(entry.kind, 0) + 1
        return counts

    def look(self, entries: Sequence[Entry], tries: int = 3, rest: Callable[[], None] = lambda: None) -> None:
        """Records which entries are lost. Services that do not answer are asked again."""
        for entry in entries:
            wrong = ""
            for _ in range(tries):
                try:
                    wrong = entry.is_there()
                except (AssertionError, OSError, requests.RequestException) as error:
                    wrong = f"{type(error).__name__}: {error}"[:300]
                if not wrong:
                    break
                rest()
            if wrong:
                self.lost[f"{entry.kind} {entry.name}"] = wrong
            else:
                self.lost.pop(f"{entry.kind} {entry.name}", None)
