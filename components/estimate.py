"""How much room images will take, from the budgets of their layers."""

import tomllib
from collections.abc import Iterable, Mapping

from components.selection import Wanted
from images.catalog import ML

GB = 10**9
# A copy of a layer: the layers up to it, whose it is (a CUDA's, a variant's), and the platform.
Copy = tuple[tuple[str, ...], str, str]
Budgets = Mapping[str, Mapping[str, str]]  # layer → whose → "2.4 GB"


def layer_budgets() -> Budgets:
    """The budgets of the ML images' layers, as the file beside their Dockerfile has them."""
    budgets: Budgets = tomllib.loads((ML / "budgets.toml").read_text())["layer"]
    return budgets


def estimate(missing: Iterable[Wanted], here: Iterable[Wanted], budgets: Budgets) -> int:
    """The bytes that `missing` images need beyond what those that are `here` share with them."""
    needed = _copies(missing, budgets)
    for copy in _copies(here, budgets):
        needed.pop(copy, None)
    return sum(needed.values())


def _copies(images: Iterable[Wanted], budgets: Budgets) -> dict[Copy, int]:
    """Each layer once, however many images share it."""
    found: dict[Copy, int] = {}
    for wanted in images:
        layers = wanted.image.layers
        for end, layer in enumerate(layers, start=1):
            whose, size = _budget(wanted, budgets.get(layer, {}))
            found[layers[:end], whose, wanted.platform] = size
    return found


def _budget(wanted: Wanted, sizes: Mapping[str, str]) -> tuple[str, int]:
    """Whose a layer is, and its size in bytes; a layer without a budget is a small one."""
    keys = (wanted.variant.key, f"cuda{wanted.variant.cuda}")
    whose = next((key for key in keys if key in sizes), "")
    return whose, round(float(sizes[whose].removesuffix(" GB")) * GB) if whose else 0
