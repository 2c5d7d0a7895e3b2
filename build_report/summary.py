"""A run in a few lines of Markdown, for notifications and the summary of a CI job."""

from build_report.markdown import summary as of
from build_report.overview import overview
from build_report.store import Store


def summary(run: str | None = None, store: Store | None = None) -> str:
    """The run of this name, or the last one; a sentence if nothing was built in it."""
    report = overview(store or Store(), run=run)
    return of(report) if report else "Nothing was built: all images are as they should be."
