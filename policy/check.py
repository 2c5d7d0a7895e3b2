"""All rules over all resources of a stack."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policy.declared import Registered, Resource, Surroundings
from policy.rule import Rule
from policy.rules import RULES


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that a resource breaks."""

    rule: Rule
    resource: str
    found: str

    @property
    def text(self) -> str:
        """In sentences: where, what, why, and the remedy."""
        return (
            f"{self.resource}: {self.found}: against the rule {self.rule.name}. {self.rule.statement} "
            f"{self.rule.reason} {self.rule.remedy}"
        )


def violations(resources: Iterable[Registered], around: Surroundings) -> Iterator[Violation]:
    """What the resources of a stack have against the rules. Changes nothing, and asks nobody."""
    for registered in resources:
        resource = Resource.of(registered)
        for rule in RULES:
            for found in rule.broken_by(resource, around):
                yield Violation(rule=rule, resource=resource.label, found=found)
