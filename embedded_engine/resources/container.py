"""``docker:index/container:Container``, made as the provider makes it: `docker inspect` shows the same."""

import json
import time
from typing import Any

from docker_api.api import DockerError, Json
from embedded_engine.changes import CONTAINER as TYPE
from embedded_engine.changes import UNHEALTHY
from embedded_engine.container_body import body
from embedded_engine.labels import AFTER_LABEL, recorded_inputs
from embedded_engine.registration import Registration
from embedded_engine.resources.base import (
    Actual,
    DockerObjects,
    Progress,
    ResourceError,
    engine_labels,
    leave_network,
    refuse_foreign,
    remove_container,
)

POLL_SECONDS = 0.2
ENDED_SECONDS = 3.0  # without a program, after which nobody starts a container again: not Docker, nor who restarts it
MOST_CRASHES = 6  # restarts by Docker, after which one more would not help; they take 6 s and the program's own time
CUT_OFF = "is not in its network"
ENDED = ("exited", "dead")  # states without a program; while Docker waits to start it again, that is "restarting"
PAUSED = "is paused"  # the defect of a container that has to be unpaused: Docker refuses to start it


class Container(DockerObjects):
    """A container, ready when it is healthy."""

    replaces = True
    replaces_dependents = ""
    replaced_with_dependencies = True  # a network in use cannot be removed
    inputs = frozenset({
        "capabilities", "command", "cpus", "destroyGraceSeconds", "deviceRequests", "entrypoints", "envs",
        "healthcheck", "hostname", "hosts", "image", "init", "labels", "logDriver", "logOpts", "memory", "memorySwap",
        "mounts", "mustRun", "name", "networkMode", "networksAdvanced", "pidMode", "ports", "readOnly", "restart",
        "securityOpts", "shmSize", "stopSignal", "stopTimeout", "tmpfs", "user", "wait", "waitTimeout",
    })  # fmt: skip

    def read(self, wanted: Registration) -> Actual | None:
        """Found by name; defective if it is not running, not healthy, or not completely set up."""
        name = wanted.inputs["name"]
        found = self.api.find(f"/containers/{name}/json")
        if found is None:
            return None
        labels = found["Config"]["Labels"]
        refuse_foreign("container", name, found, wanted, labels)
        there = set(found["NetworkSettings"]["Networks"])
        networks = {network["name"] for network in _networks(wanted.inputs)}
        # The program does not create the networks `host` and `none`; Docker lists them by their mode.
        if not networks and there != {wanted.inputs["networkMode"]}:
            return _actual(found, inputs=None)
        # Networks that users connected in addition are left alone.
        defect = CUT_OFF if networks - there else _defect(found["State"])
        return _actual(found, inputs=recorded_inputs(labels), defect=defect)

    def create(self, wanted: Registration, defective: Actual | None, progress: Progress) -> Actual:
        """Created, moved from the default bridge to its network if it has one, started, waited for."""
        if defective:
            if defective.defect == PAUSED:
                progress("unpausing")
                self.api.call("POST", f"/containers/{defective.identifier}/unpause")
            self._rejoin(wanted, defective.identifier)
            verb = "restart" if defective.defect == UNHEALTHY else "start"
            return self._start(wanted, defective.identifier, progress, verb)
        progress("creating")
        inputs = wanted.inputs
        created = self.api.call("POST", "/containers/create", query={"name": inputs["name"]}, body=self._body(wanted))
        identifier = created["Id"]
        self._rejoin(wanted, identifier)
        return self._start(wanted, identifier, progress)

    def delete(self, actual: Actual, progress: Progress) -> None:
        """Stopped, then removed."""
        progress("stopping")
        remove_container(self.api, actual.identifier)

    @staticmethod
    def _body(wanted: Registration) -> Json:
        after = [urn for urn in wanted.dependencies if f"{TYPE}::" in urn]
        return body(wanted.inputs, {**engine_labels(wanted), AFTER_LABEL: json.dumps(sorted(after))})

    def _rejoin(self, wanted: Registration, identifier: str) -> None:
        """Puts it into the network that it was made for, if it is not there: under that name there may be another."""
        networks = _networks(wanted.inputs)
        there = (self.api.find(f"/containers/{identifier}/json") or {}).get("NetworkSettings", {}).get("Networks", {})
        if networks and wanted.inputs["networkMode"] in there:
            leave_network(self.api, wanted.inputs["networkMode"], identifier)
        for network in networks:
            name = network["name"]
            if name in there:
                if there[name].get("NetworkID") in ("", (self.api.find(f"/networks/{name}") or {}).get("Id")):
                    continue
                leave_network(self.api, name, identifier)
            ipam = {"IPv4Address": network["ipv4Address"]} if "ipv4Address" in network else {}
            endpoint = {"Aliases": network["aliases"], "IPAMConfig": ipam, "DriverOpts": {}}
            body = {"Container": identifier, "EndpointConfig": endpoint}
            self.api.call("POST", f"/networks/{name}/connect", body=body)

    def _start(self, wanted: Registration, identifier: str, progress: Progress, verb: str = "start") -> Actual:
        progress("starting")
        try:
            # An unhealthy one is running: it needs more than a start.
            self.api.call("POST", f"/containers/{identifier}/{verb}")
        except DockerError as error:
            raise ResourceError(f"cannot be started: {error}") from error
        began = runs_at = time.monotonic()
        while True:
            found = self.api.find(f"/containers/{identifier}/json")
            if found is None:
                raise ResourceError("was removed by another program while it started")
            if _defect(found["State"]) is None:
                return _actual(found, inputs=wanted.recorded)
            now = time.monotonic()
            runs_at = runs_at if found["State"]["Status"] in ENDED else now
            if failure := _failure(found, now - began, now - runs_at, wanted.inputs["waitTimeout"]):
                log = self.api.logs(identifier) or "(empty)"
                raise ResourceError(f"{failure}.\nThe end of its log:\n{log}")
            progress(f"waiting until it is healthy, {now - began:.0f} s")
            time.sleep(POLL_SECONDS)


def _networks(inputs: Json) -> list[Json]:
    """The networks that the program made and the container joins; none on the host's network, or without any."""
    return list(inputs.get("networksAdvanced", []))


def _failure(found: Json, seconds: float, ended_for: float, most_seconds: float) -> str:
    """Why it will not become healthy, or has not in time; empty while it may."""
    state, restarts = found["State"], found["RestartCount"]
    said = f"exit code {state.get('ExitCode')}"
    said += ", killed for lack of memory" if state.get("OOMKilled") else ""
    said += f", {state['Error']}" if state.get("Error") else ""
    if ended_for >= ENDED_SECONDS:
        return f"has ended and is not started again ({said})"
    if restarts >= MOST_CRASHES:
        return f"crashes: it ended {restarts} times within {seconds:.0f} s (the last time: {said})"
    if seconds <= most_seconds:
        return ""
    checks = (state.get("Health") or {}).get("Log") or [{}]
    answer = (checks[-1].get("Output") or "no answer yet").strip()
    restarted = f", restarted {restarts} times" if restarts else ""
    return f"is not healthy after {most_seconds:.0f} s (state: {state['Status']}{restarted}; last check: {answer})"


def _defect(state: Json) -> str | None:
    if state["Status"] != "running":
        return f"is {state['Status']}"
    health = (state.get("Health") or {}).get("Status")
    return None if health == "healthy" else f"is {health or 'without health'}"


def _actual(found: Json, *, inputs: dict[str, Any] | None, defect: str | None = None) -> Actual:
    return Actual(
        identifier=found["Id"],
        outputs={"name": found["Name"].removeprefix("/"), "image": found["Image"]},
        inputs=inputs,
        defect=defect,
    )
