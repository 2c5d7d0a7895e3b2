"""What did not run and why: each reason with its number, at the end of a run."""

from collections import Counter

import pytest

PREFIX = "Skipped: "


def reasons(reports: list[pytest.TestReport | pytest.CollectReport]) -> list[tuple[str, int]]:
    """Reason → number of tests, the most frequent first."""
    counted = Counter(_reason(report) for report in reports)
    return sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return " ".join(text.removeprefix(PREFIX).split())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table; nothing where everything ran."""
    skipped = terminalreporter.getreports("skipped")
    if not skipped:
        return
    terminalreporter.write_sep("=", f"skipped: {len(skipped)}")
    for reason, number in reasons(skipped):
        terminalreporter.write_line(f"{number:6}  {reason}")
