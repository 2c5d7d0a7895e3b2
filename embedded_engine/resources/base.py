"""The interface of a resource type."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from docker_api.api import DockerApi, DockerError, Json
from embedded_engine.labels import INPUTS_LABEL, URN_LABEL, owner
from embedded_engine.registration import Registration

GONE = 404

# Receives the current step of a resource: "step 3/9 RUN uv …", "waiting until it is healthy".
Progress = Callable[[str], None]


class ResourceError(Exception):
    """A resource could not be made; one sentence, and the end of the relevant output where there is one."""


@dataclass(frozen=True, kw_only=True)
class Actual:
    """A resource as it is."""

    identifier: str
    outputs: dict[str, Any]
    inputs: dict[str, Any] | None  # as recorded when it was made; None if something else made it
    defect: str | None = None  # why it needs repair although its inputs are unchanged


class ResourceType(Protocol):
    """Reads, creates and deletes resources of one type. Calls come from several threads."""

    replaces: bool  # whether a change makes a new one (else it is redone in place)
    replaces_dependents: str  # reason to replace its dependents with it; empty: they stay
    replaced_with_dependencies: bool  # whether it is replaced together with such a dependency
    inputs: frozenset[str]  # supported inputs; of an object, its keys (``build.args``). Any other is refused

    def read(self, wanted: Registration) -> Actual | None:
        """The existing object for this registration; None if there is none."""

    def create(self, wanted: Registration, defective: Actual | None, progress: Progress) -> Actual:
        """Creates it, or repairs one that `read` found defective; returns when it is ready."""

    def delete(self, actual: Actual, progress: Progress) -> None:
        """Removes it before a replacement."""


def program_labels(wanted: Registration) -> dict[str, str]:
    """The labels that the program sets."""
    return {item["label"]: item["value"] for item in wanted.inputs.get("labels", [])}


def engine_labels(wanted: Registration) -> dict[str, str]:
    """The labels that `recorded_inputs` reads back, beside those that the program sets."""
    return {
        **program_labels(wanted),
        URN_LABEL: wanted.urn,
        INPUTS_LABEL: json.dumps(wanted.recorded, sort_keys=True),
    }


def refuse_foreign(kind: str, name: str, existing: Json, wanted: Registration, labels: dict[str, str] | None) -> None:
    """Raises `ResourceError` if an object of this name is not this stack's own."""
    if owner(labels) != owner(program_labels(wanted)):
        raise ResourceError(
            f"a {kind} named {name} exists that is not this stack's (made {existing.get('Created', 'unknown when')}).\n"
            f"  Nothing of it was touched. Remove or rename it: docker {kind} rm {name}"
        )


def remove_container(api: DockerApi, identifier: str) -> None:
    """Stops a container within its grace period, and removes it with its anonymous volumes."""
    try:
        api.call("POST", f"/containers/{identifier}/stop")
        api.call("DELETE", f"/containers/{identifier}", query={"v": "true", "force": "true"})
    except DockerError as error:
        if error.status != GONE:
            raise


def leave_network(api: DockerApi, network: str, identifier: str) -> None:
    """Takes a container out of a network, if it is in it."""
    try:
        api.call("POST", f"/networks/{network}/disconnect", body={"Container": identifier, "Force": True})
    except DockerError as error:
        if error.status not in (403, GONE):  # it is in none before its first start, says newer Engine
            raise


class DockerObjects:
    """Common methods of all types of Docker objects."""

    def __init__(self, api: DockerApi) -> None:
        self.api = api

    def delete(self, actual: Actual, progress: Progress) -> None:
        """Images and volumes stay: another stack may use them, and data is the user's."""
