"""The report of a verification: as JSON for the stack output, and as a table for people."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.markup import escape
from rich.table import Table

MARKS = {"pass": "[green]pass[/]", "fail": "[bold red]fail[/]", "skip": "[dim]skip[/]"}


class Model(BaseModel):
    """Frozen; ignores keys that this version does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CheckResult(Model):
    """One check: what it found, and the container whose log explains a failure (None: not one of this stack)."""

    name: str
    container: str | None = None
    result: Literal["pass", "fail", "skip"]
    detail: str
    seconds: float


class Report(Model):
    """One verification. `nodes`: what a task on each Ray node reported, by node name."""

    ok: bool
    started: str  # UTC, ISO 8601
    seconds: float
    head: str | None = None  # host of the Ray head
    checks: tuple[CheckResult, ...]
    nodes: dict[str, dict[str, Any]] = {}

    @property
    def failures(self) -> list[CheckResult]:
        """The checks that failed."""
        return [check for check in self.checks if check.result == "fail"]

    @property
    def in_words(self) -> str:
        """``13 of 13 passed``, without checks that do not concern the stack."""
        counted = [check for check in self.checks if check.result != "skip"]
        return f"{sum(check.result == 'pass' for check in counted)} of {len(counted)} passed"

    def with_check(self, check: CheckResult) -> "Report":
        """The report with one more check."""
        return self.model_copy(update={"ok": self.ok and check.result != "fail", "checks": (*self.checks, check)})


def table(report: Report) -> Table:
    """The report for a terminal."""
    failed = len(report.failures)
    title = f"{failed} of {len(report.checks)} checks failed" if failed else "Verified"
    shown = Table(title=f"{title} in {report.seconds:.0f} s", title_justify="left", pad_edge=False, box=None)
    shown.add_column("Check", no_wrap=True)
    shown.add_column("Result", no_wrap=True)
    shown.add_column("s", justify="right", no_wrap=True)
    shown.add_column("Detail", overflow="fold")
    for check in report.checks:
        shown.add_row(check.name, MARKS[check.result], f"{check.seconds:.1f}", escape(check.detail))
    return shown
