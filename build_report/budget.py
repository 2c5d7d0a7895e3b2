"""How large images and their layers may be: reads the table beside the Dockerfile, and says what is over it."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from build_report.layers import BASE
from build_report.records import Image, ReportError, Subject
from build_report.units import parse_size, percent, size
from images.layers import ALL
from images.variants import VARIANTS

# Variants, those whose torch is for CPUs alone, and what all Pythons of one CUDA share.
KEYS = tuple(dict.fromkeys(key for v in VARIANTS for key in (f"cuda{v.cuda}", v.key, f"{v.key}-cpu")))
TABLES = ("image", "layer")


class BudgetError(ReportError):
    """The table is wrong: one sentence for each entry."""


@dataclass(frozen=True, kw_only=True)
class Excess:
    """An image or layer that is larger than it may be."""

    entry: str  # the table's: layer.torch."cuda13.1.1"
    size: int
    limit: int

    @property
    def text(self) -> str:
        """``layer.torch."cuda13.1.1": 1.92 GB, 120 MB (7 %) over the 1.80 GB``."""
        over = self.size - self.limit
        return (
            f"{self.entry}: {size(self.size)}, {size(over)} ({percent(over, self.limit)}) over its {size(self.limit)}"
        )


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """The table. Keys are variants, or for what all Pythons of one CUDA share, the CUDA: ``cuda13.1.1``."""

    limits: dict[str, dict[str, dict[str, int]]]  # image or layer → name → key → bytes

    def exceeded(self, subject: Subject, image: Image) -> list[Excess]:
        """What is over the budget: the image first, then its layers."""
        sizes = [("image", subject.target or subject.image, image.size)]
        sizes += [("layer", name, count) for name, count in image.layer_sizes.items()]
        found = []
        for table, name, count in sizes:
            limits = self.limits.get(table, {}).get(name, {})
            key = next((key for key in _keys(subject) if key in limits), None)
            if key is not None and count > limits[key]:
                found.append(Excess(entry=f'{table}.{name}."{key}"', size=count, limit=limits[key]))
        return found


def load(path: Path, targets: frozenset[str]) -> Budgets:
    """Reads a table of budgets; `targets` are the images that there are. Raises BudgetError with all that is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BudgetError(f"{path}: cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BudgetError(f"{path}: is no TOML: {error}.") from error
    names = {"image": targets, "layer": frozenset((BASE, *ALL))}
    limits: dict[str, dict[str, dict[str, int]]] = {}
    wrong = [
        f"{kind}: there is no such table; there are {' and '.join(TABLES)}" for kind in table if kind not in TABLES
    ]
    for kind, name, key, value in _entries({kind: table[kind] for kind in TABLES if kind in table}):
        entry = f"{kind}.{name}" + (f'."{key}"' if key else "")
        if name not in names[kind]:
            wrong.append(f"{entry}: there is no {kind} {name}; there are {', '.join(sorted(names[kind]))}")
        elif key not in KEYS:
            wrong.append(f'{entry}: name a variant, like "cuda13.1.1-py3.14", or a CUDA; there are {", ".join(KEYS)}')
        elif not isinstance(value, str):
            wrong.append(f"{entry}: {value!r} is no size: write it like '5.0 GB'")
        else:
            try:
                limits.setdefault(kind, {}).setdefault(name, {})[key] = parse_size(value)
            except ValueError as error:
                wrong.append(f"{entry}: {error}")
    if wrong:
        raise BudgetError("\n".join(f"{path}: {one}." for one in wrong))
    return Budgets(limits=limits)


def _entries(table: dict[str, object]) -> Iterator[tuple[str, str, str, object]]:
    """Every value with its table, name and key; what is no table of tables with an empty key."""
    for kind, content in table.items():
        for name, values in content.items() if isinstance(content, dict) else [("", content)]:
            if not isinstance(values, dict):
                yield kind, name, "", values
                continue
            for key, value in values.items():
                yield kind, name, key, value


def _keys(subject: Subject) -> tuple[str, ...]:
    """The keys that may limit a subject, the closest first."""
    if subject.variant is None:
        return ()
    if subject.flavour == "cpu":
        return (f"{subject.variant}-cpu",)
    return (subject.variant, subject.variant.partition("-")[0])
