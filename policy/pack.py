"""The rules as policies of Pulumi, which its engine asks about each resource (`--policy-pack policy`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from policy.check import Violation
from policy.declared import Resource, Surroundings
from policy.rule import Rule
from policy.rules import RULES
from stack.pulumi_internals import Unknown


def policies(around: Callable[[], Surroundings]) -> list[ResourceValidationPolicy]:
    """A policy for each rule. `around` is not asked before the program has accepted its config, and has its files."""
    return [_policy(rule, around) for rule in RULES]


def _policy(rule: Rule, around: Callable[[], Surroundings]) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if not args.props:
            return  # a component, or the stack itself
        resource = Resource(type=args.resource_type, name=args.name, inputs=_plain(args.props))
        for found in rule.broken_by(resource, around()):
            report(Violation(rule=rule, resource=resource.label, found=found).text, args.urn)

    return ResourceValidationPolicy(
        name=rule.name,
        description=rule.statement,
        validate=validate,
        enforcement_level=EnforcementLevel.ADVISORY if rule.advisory else EnforcementLevel.MANDATORY,
        remediation_steps=rule.remedy,
    )


def _plain(value: Any) -> Any:  # noqa: ANN401 (a property of a resource is any JSON value)
    """Properties as the program gives them. The engine's raise an error where a preview does not know a value."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(holder: Any, key: str | int) -> Any:  # noqa: ANN401
    try:
        return _plain(holder[key])
    except UnknownValueError:
        return Unknown()  # type: ignore[no-untyped-call]
