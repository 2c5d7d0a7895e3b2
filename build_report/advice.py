"""Which phase of a run took longest, and what would make it shorter."""

import platform
from collections import Counter
from collections.abc import Sequence

from build_report.overview import Row
from build_report.phases import EXPORT, PUSH
from build_report.units import duration, percent
from images.base.recipe import architecture
from images.layers import BASE, LAYERS, PACKAGES

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
WORTH_SAYING = 10.0  # seconds
DOWNLOADS = (
    "it downloads and unpacks packages: a mirror nearby (mirrors.pypi), and the build cache, which keeps downloads "
    "between builds (`ws matrix --prune` leaves it alone)"
)
ADVICE = {
    BASE: "bases are made once and kept; a Debian mirror nearby (mirrors.debian), or `bases: registry`",
    PACKAGES: "it installs this stack's own packages: fewer of them, or a mirror nearby (mirrors.pypi)",
    EXPORT: "it writes layers to Docker's disk: a faster disk, or fewer builds at a time (parallel_builds)",
    PUSH: "it sends layers that the registry has not: a registry nearby; one that has the layers already gets none",
    **dict.fromkeys(LAYERS, DOWNLOADS),
    "compiler": "it installs Debian packages: a Debian mirror nearby (mirrors.debian)",
    "tools": "it installs Debian packages: a Debian mirror nearby (mirrors.debian)",
}


def slowest(rows: Sequence[Row], machine: str = "") -> str:
    """A sentence or two on the run; empty where nothing took long."""
    spent: Counter[str] = Counter()
    for row in rows:
        spent.update(row.phases)
    if not spent or max(spent.values()) < WORTH_SAYING:
        return ""
    (name, seconds), total = spent.most_common(1)[0], sum(spent.values())
    text = f"Slowest phase: {name}, {duration(seconds)} of {duration(total)} ({percent(seconds, total)})"
    if name in ADVICE:
        text += f". What would help: {ADVICE[name]}"
    host = MACHINES.get(machine or platform.machine(), "")
    foreign = sorted({row.build.subject.platform for row in rows if row.phases} - {f"linux/{host}"})
    if host and any(architecture(one) != host for one in foreign):  # type: ignore[arg-type]
        text += f". {', '.join(foreign)} was emulated: a build host of that processor builds several times faster"
    return f"{text}."
