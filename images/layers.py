"""The layers of the ML images, and how a step of a build or of an image's history tells which it made."""

import re

LAYERS: tuple[str, ...] = ("cuda", "python", "compiler", "torch", "pyg", "tools", "toolkit", "ray", "mlflow", "marimo")

STEP = re.compile(rf"\binstall\.py ({'|'.join(LAYERS)})\b")


def layer_of(text: str) -> str | None:
    """The layer that this step makes; None for a step of the base's or one that makes no layer of ours."""
    found = STEP.search(text)
    return found[1] if found else None
