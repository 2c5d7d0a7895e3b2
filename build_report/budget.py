"""Finds what exceeds the budget of an image."""

from dataclasses import dataclass

from build_report.records import Image, Subject
from build_report.units import percent, size
from images.budgets import Budgets
from images.layers import OTHER


@dataclass(frozen=True, kw_only=True)
class Excess:
    """An image or layer that is larger than it may be."""

    entry: str  # the table's: layer.torch."cuda13.1.1"
    size: int
    limit: int

    @property
    def text(self) -> str:
        """``layer.torch."cuda13.1.1": 1.92 GB, 120 MB (7 %) over its 1.80 GB``."""
        over = self.size - self.limit
        return (
            f"{self.entry}: {size(self.size)}, {size(over)} ({percent(over, self.limit)}) over its {size(self.limit)}"
        )


def exceeded(budgets: Budgets, subject: Subject, image: Image) -> list[Excess]:
    """What exceeds its budget: the image first, then its layers."""
    sizes = [("image", subject.target or subject.image, image.size)]
    sizes += [("layer", name, count) for name, count in image.layer_sizes.items()]
    found = []
    for table, name, count in sizes:
        limit = budgets.limit(table, name, subject.variant, subject.flavour)
        if limit and count > limit[1]:
            found.append(Excess(entry=f'{table}.{name}."{limit[0]}"', size=count, limit=limit[1]))
    return found


def over_limit(key: str, limit: int, image: Image) -> list[Excess]:
    """The layers of a stack's own Dockerfile, if they exceed the limit that a key says: all whose step is none of the
    platform's.
    """
    size = image.layer_sizes.get(OTHER, 0)
    return [Excess(entry=key, size=size, limit=limit)] if size > limit else []
