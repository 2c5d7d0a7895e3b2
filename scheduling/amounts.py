"""Amounts of resources as whole numbers, so that what is taken and given back always adds up.

Ray counts resources in ten-thousandths; memory is in bytes and stays so.
"""

from collections.abc import Iterable, Mapping

Amounts = Mapping[str, int]  # resource → units; a resource that is not named is 0

CPU, GPU, MEMORY = "CPU", "GPU", "memory"  # as Ray calls them
UNITS = 10_000  # in one CPU, one GPU or one of a custom resource
IN_BYTES = frozenset({MEMORY, "object_store_memory"})


def amounts(**quantities: float) -> Amounts:
    """Quantities as Ray gives and takes them, in units; zeros are left out.

    What cannot be counted exactly is rounded up.
    """
    return from_ray(quantities)


def from_ray(quantities: Mapping[str, float]) -> Amounts:
    """As `amounts`, for names of resources that Python has no spelling for, such as `dataset:phoenix`."""
    counted = {name: _ceil(quantity * per_one(name)) for name, quantity in quantities.items()}
    return {name: units for name, units in counted.items() if units}


def per_one(resource: str) -> int:
    """Units in one CPU, GPU, byte or custom resource."""
    return 1 if resource in IN_BYTES else UNITS


def plus(first: Amounts, second: Amounts, times: int = 1) -> dict[str, int]:
    """The sum."""
    total = dict(first)
    for name, units in second.items():
        total[name] = total.get(name, 0) + times * units
    return total


def minus(first: Amounts, second: Amounts, times: int = 1) -> dict[str, int]:
    """The difference, which may be negative: a node that lost a GPU has given away more than it has."""
    return plus(first, second, -times)


def total(many: Iterable[Amounts]) -> dict[str, int]:
    """The sum of all."""
    result: dict[str, int] = {}
    for each in many:
        for name, units in each.items():
            result[name] = result.get(name, 0) + units
    return result


def fits(asked: Amounts, free: Amounts) -> bool:
    """Whether all that is asked for is free. What is not asked for may be overdrawn."""
    return all(free.get(name, 0) >= units for name, units in asked.items())


def slots(asked: Amounts, free: Amounts, most: int) -> int:
    """How many times it fits, `most` at the most."""
    for name, units in asked.items():
        if units:
            most = min(most, free.get(name, 0) // units)
    return max(0, most)


def _ceil(quantity: float) -> int:
    """Rounded up, but for the noise of binary fractions: 0.1 of a GPU is 1,000 units."""
    rounded = round(quantity)
    return rounded if abs(quantity - rounded) < 1e-6 else int(quantity) + (quantity > 0)
