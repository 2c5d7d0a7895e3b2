"""docs/security.md lists every rule and every exemption, as the table of rules has them."""

import pytest

from docs.tooling.links import ROOT
from policy.rule import Exemption, Rule
from policy.rules import RULES

LINES = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").splitlines()
ROWS = LINES[LINES.index("| Rule | Statement | Why |") + 2 :][: len(RULES)]
EXEMPTIONS = [(rule, exemption) for rule in RULES for exemption in rule.exemptions]


def row(rule: Rule) -> str:
    return f"| `{rule.name}` | {rule.statement} | {rule.reason} |"


def exempt(rule: Rule, exemption: Exemption) -> str:
    services = ", ".join(f"`{name}`" for name in exemption.services)
    place = " on one of several hosts" if exemption.several_hosts else ""
    return f"| `{rule.name}` | {services}{place} | {exemption.found} | {exemption.reason} |"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_has_its_row(rule):
    assert row(rule) in ROWS


@pytest.mark.parametrize(("rule", "exemption"), EXEMPTIONS, ids=[each.found for _, each in EXEMPTIONS])
def test_every_exemption_has_its_row(rule, exemption):
    assert exempt(rule, exemption) in LINES


def test_no_row_is_of_a_rule_that_is_gone():
    names = {rule.name for rule in RULES}
    assert {line.split("`")[1] for line in LINES if line.startswith("| `")} == names
    assert sum(line.startswith("| `") for line in LINES) == len(RULES) + len(EXEMPTIONS)
