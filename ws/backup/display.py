"""Shows what a backup or a restore does: a bar on a terminal, elsewhere an occasional line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from build_report.units import size
from ws.backup.restic import Heard, Json
from ws.backup.sets import Entry, Manifest
from ws.progress import progress
from ws.tables import plain_table

COLUMNS = ("Backup", "Stack", "Host", "Ended (UTC)", "Files", "Size", "Added", "Databases", "Version")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The console of a command."""

    console: Console

    def say(self, text: str, style: str = "") -> None:
        """A line that stays."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    @contextmanager
    def part(self, name: str) -> Iterator[Heard]:
        """Yields a function that shows restic's progress with a part."""
        if not self.console.is_terminal:
            with progress(self.console) as say:
                yield lambda status: say(f"{name}: {_amount(status)}")
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(name, total=None)
            yield lambda status: bar.update(
                task, completed=status.get("bytes_done", 0), total=status.get("total_bytes") or None
            )

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Shows what is being done, without a measure of it."""
        with progress(self.console) as say:
            say(text)
            yield say


def _amount(status: Json) -> str:
    done, total = status.get("bytes_done", 0), status.get("total_bytes", 0)
    return f"{size(done)} of {size(total)}" if total else size(done)


def table_of(every: list[tuple[Entry, Manifest | None]]) -> Table:
    """The backups of a repository."""
    table = plain_table(COLUMNS, right=("Files", "Size", "Added"))
    for entry, manifest in every:
        row = (entry.name, entry.stack, entry.host, f"{entry.when:%Y-%m-%d %H:%M}")
        if manifest is None:
            table.add_row(*row, "", "", "", "interrupted", "", style="dim")
            continue
        rows = {name: sum(one.rows for one in dump.tables.values()) for name, dump in manifest.databases.items()}
        databases = ", ".join(f"{name} {count} rows" for name, count in rows.items())
        files = f"{manifest.files}, {manifest.unread} not read" if manifest.unread else str(manifest.files)
        table.add_row(*row, files, size(manifest.size), size(manifest.added), databases, manifest.version)
    return table
