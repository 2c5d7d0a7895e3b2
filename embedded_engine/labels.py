"""The labels by which the engine recognises its own objects. Imports no Pulumi, so that `ws ps` can use it."""

import json
from collections.abc import Mapping
from typing import Any

from stack.identity import EMBEDDED_LABEL

URN_LABEL = EMBEDDED_LABEL
INPUTS_LABEL = "cslr.engine.inputs"
AFTER_LABEL = "cslr.engine.after"


def recorded_inputs(labels: Mapping[str, str] | None) -> dict[str, Any] | None:
    """The inputs that an object was made with; None where this engine did not make it."""
    text = (labels or {}).get(INPUTS_LABEL)
    return json.loads(text) if text else None


def owner(labels: Mapping[str, str] | None) -> tuple[str | None, str | None]:
    """Project and stack that an object belongs to."""
    labels = labels or {}
    return labels.get("cslr.project"), labels.get("cslr.stack")
