"""The layers of the ML images and what stands on them; and how a build's step, or a history's, tells which it made."""

import re

LAYERS: tuple[str, ...] = (
    "cuda", "python", "compiler", "torch", "pyg", "science", "tools", "toolkit", "ray", "mlflow", "marimo",
)  # fmt: skip

BASE = "base"  # in budgets and reports: all layers of the base image
PACKAGES = "packages"  # what a stack adds to an image of the family
ALL = (*LAYERS, PACKAGES)

STEP = re.compile(rf"\binstall\.py ({'|'.join(ALL)})\b")


def layer_of(text: str) -> str | None:
    """The layer that this step makes; None for a step of the base's or one that makes no layer of ours."""
    found = STEP.search(text)
    return found[1] if found else None
