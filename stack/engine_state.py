"""Asks the engine that runs this program which resources of the stack are in its state, whatever its backend is."""

import time
from typing import Any

import pulumi

from stack.owner import Known

READ_STATE = "pulumi:pulumi:readStackResourceOutputs"  # a built-in function of Pulumi, without a provider
EMBEDDED = "embedded"  # the key by which the embedded engine answers it
# A file backend is not read and written atomically: at the start of a run the engine writes while the program reads.
HALF_WRITTEN = "failed to load checkpoint"
ATTEMPTS, PAUSE_SECONDS = 5, 0.2
NOBODYS = "organization"  # name of the only organization in backends without organizations


def stack_reference() -> str:
    """This stack by its full name where it is an organization's: a bare one is looked for in the user's default one."""
    organization, stack = pulumi.get_organization(), pulumi.get_stack()
    return stack if organization in (None, "", NOBODYS) else f"{organization}/{pulumi.get_project()}/{stack}"


def known() -> Known:
    """The engine, and which Docker objects are in its state. 50 ms on a stack of the whole platform."""
    answer = _state()
    if EMBEDDED in answer:
        return Known(engine="embedded")
    resources = (answer.get("outputs") or {}).values()
    identifiers = {
        resource["outputs"].get("id") for resource in resources if str(resource.get("type")).startswith("docker:")
    }
    return Known(engine="pulumi", identifiers=frozenset(filter(None, identifiers)))


def _state() -> dict[str, Any]:
    left = ATTEMPTS
    while True:
        left -= 1
        try:
            return pulumi.runtime.invoke(READ_STATE, {"stackName": stack_reference()}).value or {}
        except Exception as error:  # the SDK raises no other class
            if HALF_WRITTEN not in str(error) or not left:
                raise
            time.sleep(PAUSE_SECONDS)
