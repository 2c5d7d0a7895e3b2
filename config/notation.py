"""Notation of addresses and quantities. Imports no models, because `ws` needs it before it may need them."""

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound
UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}  # exponent of 1024, as Docker counts
MEBIBYTE = 1024**2


def format_quantity(size: int) -> str:
    """The shortest exact notation of ``size`` bytes: 8589934592 → ``8g``."""
    for unit in "tgmk":
        if size and size % 1024 ** UNITS[unit] == 0:
            return f"{size // 1024 ** UNITS[unit]}{unit}"
    return str(size)
