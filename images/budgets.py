"""Size budgets of images and layers: the tables beside the Dockerfiles (budgets.toml)."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from images.layers import ALL, BASE
from images.variants import VARIANTS

# Variants, those whose torch is for CPUs alone, and what all Pythons of one CUDA share.
ANY = "any"  # for images that do not depend on the variant
KEYS = (*dict.fromkeys(key for v in VARIANTS for key in (f"cuda{v.cuda}", v.key, f"{v.key}-cpu")), ANY)
TABLES = ("image", "layer")
SIZE = re.compile(r"^(?P<number>\d+(?:\.\d+)?) *(?P<unit>GB|MB|kB|B)$")
UNITS = {"GB": 10**9, "MB": 10**6, "kB": 10**3, "B": 1}


class BudgetError(Exception):
    """A table of budgets is wrong: one sentence for each entry."""


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """A table. Keys are variants, or for what all Pythons of one CUDA share, the CUDA: ``cuda13.1.1``."""

    limits: Mapping[str, Mapping[str, Mapping[str, int]]]  # image or layer → name → key → bytes

    def limit(self, table: str, name: str, variant: str | None, flavour: str) -> tuple[str, int] | None:
        """The closest entry for an image or layer, by its key, and its bytes. None: there is none."""
        limits = self.limits.get(table, {}).get(name, {})
        return next(((key, limits[key]) for key in _closest(variant, flavour) if key in limits), None)


def load(path: Path, targets: frozenset[str]) -> Budgets:
    """Reads a table; `targets` are the images that exist.

    Raises:
        BudgetError: with everything that is wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BudgetError(f"{path}: cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BudgetError(f"{path}: is not TOML: {error}.") from error
    names = {"image": targets, "layer": frozenset((BASE, *ALL))}
    limits: dict[str, dict[str, dict[str, int]]] = {}
    wrong = [f"{kind}: unknown table; known are {' and '.join(TABLES)}" for kind in table if kind not in TABLES]
    for kind, name, key, value in _entries({kind: table[kind] for kind in TABLES if kind in table}):
        entry = f"{kind}.{name}" + (f'."{key}"' if key else "")
        if name not in names[kind]:
            wrong.append(f"{entry}: unknown {kind} {name}; known are {', '.join(sorted(names[kind]))}")
        elif key not in KEYS:
            wrong.append(f'{entry}: name a variant, like "cuda13.1.1-py3.14", or a CUDA; known are {", ".join(KEYS)}')
        elif not isinstance(value, str):
            wrong.append(f"{entry}: {value!r} is not a size: write it like '5.0 GB'")
        else:
            try:
                limits.setdefault(kind, {}).setdefault(name, {})[key] = parse_size(value)
            except ValueError as error:
                wrong.append(f"{entry}: {error}")
    if wrong:
        raise BudgetError("\n".join(f"{path}: {one}." for one in wrong))
    return Budgets(limits=limits)


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError for what is not a size."""
    found = SIZE.match(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a size: write it like '5.0 GB', with B, kB, MB or GB (10^9 bytes)")
    return round(float(found["number"]) * UNITS[found["unit"]])


def _entries(table: dict[str, object]) -> Iterator[tuple[str, str, str, object]]:
    """Every value with its table, name and key; whatever is not a table of tables with an empty key."""
    for kind, content in table.items():
        for name, values in content.items() if isinstance(content, dict) else [("", content)]:
            if not isinstance(values, dict):
                yield kind, name, "", values
                continue
            for key, value in values.items():
                yield kind, name, key, value


def _closest(variant: str | None, flavour: str) -> tuple[str, ...]:
    """The keys whose entries may hold for an image, the closest first."""
    if variant is None:
        return (ANY,)
    return (f"{variant}-cpu",) if flavour == "cpu" else (variant, variant.partition("-")[0])
