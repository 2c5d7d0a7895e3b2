"""A run in a few lines of Markdown, for notifications and the summary of a CI job."""

from collections.abc import Mapping
from types import MappingProxyType

from build_report.markdown import failures_in_short
from build_report.markdown import summary as of
from build_report.overview import overview
from build_report.store import Store

NONE: Mapping[str, str] = MappingProxyType({})


def summary(run: str | None = None, store: Store | None = None, *, failures: Mapping[str, str] = NONE) -> str:
    """The run of this name, or the last one; a sentence if nothing was built in it.

    `failures`: what else went wrong than builds, with the reason.
    """
    report = overview(store or Store(), run=run)
    nothing = "Nothing was built" + ("." if failures else ": all images are as they should be.")
    return "\n".join([of(report) if report else nothing, *failures_in_short(failures.items())])
