"""The form of a rule, and of what is exempt from it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from policy.declared import Resource, Surroundings

# Yields what it finds against the rule, in a few words that exemptions can name.
Look = Callable[[Resource, Surroundings], Iterator[str]]


@dataclass(frozen=True, kw_only=True)
class Exemption:
    """What a rule allows on purpose."""

    services: tuple[str, ...]
    found: str  # the words of the rule's `look`
    reason: str
    several_hosts: bool = False  # whether only one host's part of a cluster is exempt

    def covers(self, resource: Resource, found: str, around: Surroundings) -> bool:
        """Whether a resource may have what was found."""
        return (
            found == self.found
            and resource.service in self.services
            and (not self.several_hosts or around.several_hosts)
        )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: sentences for people, and the check."""

    name: str
    statement: str
    reason: str
    remedy: str
    look: Look
    exemptions: tuple[Exemption, ...] = ()
    containers_only: bool = True
    advisory: bool = False  # it only warns: what it finds is the choice of the stack's owner

    def broken_by(self, resource: Resource, around: Surroundings) -> Iterator[str]:
        """What a resource has against the rule, in a few words each."""
        if self.containers_only and not resource.is_container:
            return
        for found in self.look(resource, around):
            if not any(exemption.covers(resource, found, around) for exemption in self.exemptions):
                yield found
