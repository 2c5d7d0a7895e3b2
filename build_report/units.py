"""Numbers for people. Sizes are decimal, as in Docker: 1 GB is 10^9 bytes."""

import time

STEPS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
NOTHING = "-"


def size(count: int | None) -> str:
    """``5.65 GB``, ``312 MB``, ``1.2 kB``."""
    if count is None:
        return NOTHING
    for unit, factor in STEPS:
        value = abs(count) / factor
        if value >= 1:
            digits = 2 if unit == "GB" else 1 if value < 10 else 0
            return f"{count / factor:.{digits}f} {unit}"
    return f"{count} B"


def delta(count: int | None) -> str:
    """A difference of sizes: ``+312 MB``, ``-4.1 MB``, ``±0``."""
    return NOTHING if count is None else "±0" if not count else f"{'+' if count > 0 else ''}{size(count)}"


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``42 s``, ``3 min 05 s``, ``1 h 02 min``."""
    if seconds is None:
        return NOTHING
    return f"{seconds:.1f} s" if seconds < 9.95 else whole_duration(seconds)


def whole_duration(seconds: float) -> str:
    """The same without tenths."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"


def seconds_delta(seconds: float | None) -> str:
    """A difference of times: ``+12 s``."""
    return NOTHING if seconds is None else f"{'-' if seconds < 0 else '+'}{duration(abs(seconds))}"


def percent(part: float, whole: float) -> str:
    """``63 %``; of nothing, nothing."""
    return f"{100 * part / whole:.0f} %" if whole else NOTHING


def images(count: int) -> str:
    """``1 image``, ``18 images``."""
    return f"{count} image{'' if count == 1 else 's'}"


def moment(seconds: float) -> str:
    """``2026-11-22 10:20`` in this host's time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
