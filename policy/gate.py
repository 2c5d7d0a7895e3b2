"""Refuses what breaks a rule while the program declares it, under either engine.

In a preview all resources are judged before the program ends, so that one error names everything; without one each is
judged before its engine is told of it.
"""

from threading import Lock

import pulumi

from policy.check import Violation, violations
from policy.declared import Surroundings
from stack.pulumi_internals import Registered, watch_registrations

REFUSAL = "The rules of hardening (docs/security.md) refuse what the program declares."  # begins its error


class Gate:
    """The rules over the resources of one run of the program."""

    def __init__(self, around: Surroundings, *, dry_run: bool) -> None:
        self._around = around
        self._dry_run = dry_run
        self._found: list[Violation] = []
        self._lock = Lock()

    def judge(self, registered: Registered) -> None:
        """Warns of what advisory rules find. Keeps what others find for the end, or raises where there is no preview.

        Raises:
            RunError: it breaks a rule.
        """
        found = list(violations([registered], self._around))
        for one in found:
            if one.rule.advisory:
                pulumi.warn(one.text)
        refused = [one for one in found if not one.rule.advisory]
        if refused and not self._dry_run:
            raise _refusal(refused, "It was not made.")
        with self._lock:
            self._found += refused

    def end(self) -> None:
        """Raises `RunError` for everything that was found."""
        if self._found:
            raise _refusal(self._found, "Nothing was changed.")


def enforce(around: Surroundings, *, dry_run: bool) -> None:
    """Has the rules decide about each resource that the program registers from now on."""
    gate = Gate(around, dry_run=dry_run)
    watch_registrations(gate.judge, gate.end)


def _refusal(found: list[Violation], so: str) -> pulumi.RunError:
    lines = "\n".join(f"  {one.text}" for one in sorted(found, key=lambda one: (one.resource, one.rule.name)))
    return pulumi.RunError(f"{REFUSAL} {so}\n{lines}")
