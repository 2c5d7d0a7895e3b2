"""Summarises skipped tests at the end of a run: each reason with its count.

A skip is for what this machine cannot have. Tests that are left out because they take long are not chosen: they are
marked `only_with(SETTING, CHOSEN)`.
"""

from collections import Counter

import pytest

PREFIX = "Skipped: "
LEFT_OUT = pytest.StashKey[Counter[str]]()


def reasons(reports: list[pytest.TestReport | pytest.CollectReport]) -> list[tuple[str, int]]:
    """Reason → number of tests, the most frequent first."""
    counted = Counter(_reason(report) for report in reports)
    return sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return " ".join(text.removeprefix(PREFIX).split())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what takes long, unless it was asked for."""
    settings = {item: mark.args[0] for item in items for mark in item.iter_markers("only_with") if not mark.args[1]}
    if settings:
        config.hook.pytest_deselected(items=list(settings))
        items[:] = [item for item in items if item not in settings]
        config.stash[LEFT_OUT] = Counter(settings.values())


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """How to run what was left out."""
    return [f"long tests left out: {number} (set {how})" for how, number in config.stash.get(LEFT_OUT, {}).items()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table; nothing where everything ran."""
    skipped = terminalreporter.getreports("skipped")
    if not skipped:
        return
    terminalreporter.write_sep("=", f"skipped: {len(skipped)}")
    for reason, number in reasons(skipped):
        terminalreporter.write_line(f"{number:6}  {reason}")
