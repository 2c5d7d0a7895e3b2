"""The layers of the ML images, and how to recognise them in build steps and image histories."""

import re

LAYERS: tuple[str, ...] = (
    "cuda", "python", "compiler", "torch", "pyg", "science", "tools", "toolkit", "ray", "mlflow", "marimo",
)  # fmt: skip

BASE = "base"  # in budgets and reports: all layers of the base image
OTHER = "other"  # there too: what no step of the platform made
BASE_DATE = "cslr.base.date"  # the label of a renewed base, and of what is built on it: its day
PACKAGES = "packages"  # a stack's own packages, on an image of the family
ALL = (*LAYERS, PACKAGES)

STEP = re.compile(rf"\binstall\.py ({'|'.join(ALL)})\b")


def layer_of(text: str) -> str | None:
    """The layer that this step makes; None for any other step."""
    found = STEP.search(text)
    return found[1] if found else None
