"""Notation of addresses, quantities and services. Imports no models: `ws` needs it before it may need them."""

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound
UNITS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}  # exponent of 1024, as Docker counts
MEBIBYTE = 1024**2
NOTEBOOKS = "marimo"  # the service that serves notebooks to all
_PERSONAL = f"{NOTEBOOKS}-"  # and a person's name: the one that serves a person's own


def format_quantity(size: int) -> str:
    """The shortest exact notation of ``size`` bytes: 8589934592 → ``8g``."""
    for unit in "tgmk":
        if size and size % 1024 ** UNITS[unit] == 0:
            return f"{size // 1024 ** UNITS[unit]}{unit}"
    return str(size)


def notebooks_of(person: str) -> str:
    """The service of a person's own notebooks."""
    return f"{_PERSONAL}{person}"


def person_of(service: str) -> str | None:
    """The person whose own notebooks a service is; None for every other service."""
    return service.removeprefix(_PERSONAL) if service.startswith(_PERSONAL) else None


def listed_as(service: str) -> str:
    """The name under which tables list a service: a person's notebooks are like everybody's."""
    return service if person_of(service) is None else NOTEBOOKS
