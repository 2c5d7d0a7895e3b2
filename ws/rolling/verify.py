"""The verification's check of one node: a task runs there, with the resources that it should have."""

from collections.abc import Callable, Iterable

from pydantic import ValidationError

from embedded_engine.changes import Change
from verification.runner import verify
from verification.spec import ENVIRONMENT, VerificationSpec

CHECKS = ("task_on_each_node", "resources")
SECONDS = 180.0
SETTLE_SECONDS = 90.0


def planned_spec(changes: Iterable[Change], name: str) -> VerificationSpec | None:
    """The specification with which a run would verify the stack, by the command of this name; None if it will not."""
    for change in changes:
        text = (change.after.get("environment") or {}).get(ENVIRONMENT) if change.name == name else None
        if isinstance(text, str):
            try:
                return VerificationSpec.model_validate_json(text)
            except ValidationError:  # an image whose ID is not known before it is built
                return None
    return None


def problem_of(spec: VerificationSpec, node: str, say: Callable[[str], None]) -> str:
    """Why a node does not work; empty if it does, or if the specification does not expect it."""
    nodes = tuple(one for one in spec.nodes if one.name == node)
    if not nodes:
        return ""
    report = verify(_of_nodes(spec).model_copy(update={"nodes": nodes}), say, CHECKS)
    return "; ".join(f"{check.name}: {check.detail}" for check in report.failures)


def _of_nodes(spec: VerificationSpec) -> VerificationSpec:
    """Without the checks of anything but nodes."""
    services = dict.fromkeys(
        ("mlflow", "mlflow_published", "marimo", "health", "exporter", "prometheus", "queue", "devel")
    )
    limits = {"deadline": SECONDS, "settle": SETTLE_SECONDS, "other_nodes": True}
    return spec.model_copy(update={**services, **limits, "transcription": None})
