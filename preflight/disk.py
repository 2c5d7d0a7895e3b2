"""Estimates how much disk space images will take, from the budgets of their layers.

What an image of a service holds above its base or its parent counts as one layer.
"""

from collections.abc import Iterable, Mapping

from images.budgets import ANY, load
from images.catalog import CATALOG, ML, Image
from images.family import SERVICES, BuildTarget

GB = 10**9
PYTHON = "python"  # from this layer on there is one copy for each variant; below it, one for each CUDA
# A copy of a layer: the layers up to it, whose it is (a CUDA's, a variant's), and the platform.
Copy = tuple[tuple[str, ...], str, str]
LayerBudgets = Mapping[str, Mapping[str, int]]  # layer → whose → bytes


def layer_budgets() -> LayerBudgets:
    """The budgets of the ML images' layers and of the images of services, from the tables beside their Dockerfiles.

    Raises:
        BudgetError: it cannot be read.
    """
    targets = frozenset(image.target for image in CATALOG.values() if image.target)
    family = load(ML / "budgets.toml", targets).limits
    budgets = dict(family.get("layer", {}))
    for image in (CATALOG[name] for name in SERVICES):
        sizes = load(image.folder / image.sizes, frozenset(SERVICES)).limits.get("image", {}).get(image.name, {})
        below = family["image"][image.parent] if image.parent else {}
        budgets[_as_layer(image)] = {key: size - below.get(key, 0) for key, size in sizes.items()}
    return budgets


def estimate(missing: Iterable[BuildTarget], here: Iterable[BuildTarget], budgets: LayerBudgets) -> int:
    """The bytes that `missing` images need, except layers that they share with those already `here`."""
    shared = _copies(here, budgets)
    return sum(size for copy, size in _copies(missing, budgets).items() if copy not in shared)


def _copies(images: Iterable[BuildTarget], budgets: LayerBudgets) -> dict[Copy, int]:
    """Each layer once, however many images share it. A layer without a budget is small."""
    found: dict[Copy, int] = {}
    for wanted in images:
        layers = _layers(wanted.image)
        for end, layer in enumerate(layers, start=1):
            variant, cuda = wanted.variant.key, f"cuda{wanted.variant.cuda}"
            whose = variant if PYTHON in layers[:end] else cuda
            sizes = budgets.get(layer, {})
            found[layers[:end], whose, wanted.platform] = sizes.get(variant, sizes.get(cuda, sizes.get(ANY, 0)))
    return found


def _layers(image: Image) -> tuple[str, ...]:
    """Its layers, the lowest first: of an image of a service its own as one, above those of its parent."""
    if image.name not in SERVICES:
        return image.layers
    return (*(_layers(CATALOG[image.parent]) if image.parent else ()), _as_layer(image))


def _as_layer(image: Image) -> str:
    """The name of an image of a service among layers: mlflow is also one of the family's."""
    return f"image.{image.name}"
