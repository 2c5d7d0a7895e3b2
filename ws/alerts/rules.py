"""The alerts that there are, by the rules that Prometheus gets."""

import yaml

from stack.programs import ENTRYPOINTS

RULES = ENTRYPOINTS / "prometheus" / "alerts.yaml"


def names() -> tuple[str, ...]:
    """Their names, in the order of the rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return tuple(rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule)
