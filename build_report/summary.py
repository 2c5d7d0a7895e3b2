"""A run in a few lines of Markdown, for notifications and CI job summaries."""

from collections.abc import Mapping
from types import MappingProxyType

from build_report.markdown import failures_in_short
from build_report.markdown import summary as of
from build_report.overview import overview
from build_report.store import Store

NONE: Mapping[str, str] = MappingProxyType({})


def summary(run: str | None = None, store: Store | None = None, *, failures: Mapping[str, str] = NONE) -> str:
    """Summarises the named run, or the last one; one sentence if nothing was built.

    `failures`: what failed besides builds, with the reason.
    """
    report = overview(store or Store(), run=run)
    nothing = "Nothing was built" + ("." if failures else ": all images are up to date.")
    return "\n".join([of(report) if report else nothing, *failures_in_short(failures.items())])
