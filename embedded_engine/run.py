"""Operations of the embedded engine on one stack: preview, up, destroy, outputs."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from config.stack_file import StackConfig
from docker_api.api import DockerApi, DockerError, Json
from embedded_engine.changes import (
    COMMAND,
    CONTAINER,
    EVERYTHING,
    IMAGE,
    NETWORK,
    PULLED_IMAGE,
    VOLUME,
    Action,
    Change,
    Display,
    Guard,
    Result,
    Scope,
    unguarded,
)
from embedded_engine.deployment import Deployment
from embedded_engine.labels import AFTER_LABEL, URN_LABEL
from embedded_engine.lock import stack_lock
from embedded_engine.program import Monitor, run_program
from embedded_engine.resources.base import ResourceType, remove_container
from embedded_engine.resources.command import Command
from embedded_engine.resources.container import Container
from embedded_engine.resources.image import Image, RemoteImage
from embedded_engine.resources.network import Network
from embedded_engine.resources.volume import Volume
from stack.identity import StackIdentity
from stack.state import stack_folder

# Path of the Engine API, key of the list in its answer, type; in the order in which `down` removes them.
KINDS = (("/containers/json", "", CONTAINER), ("/networks", "", NETWORK), ("/volumes", "Volumes", VOLUME))


__all__ = ["NETWORK", "VOLUME", "Engine", "Result"]


class Engine:
    """The embedded engine on one stack of the program in `folder`."""

    def __init__(
        self,
        folder: Path,
        config: StackConfig,
        display: Display,
        overrides: Mapping[str, object] | None = None,
        guard: Guard = unguarded,
        *,
        rebuild: bool = False,
    ) -> None:
        """`overrides`: values of config keys, such as ``cslr:matrix``, instead of those in the stack file.

        `guard`: asked by `up` before a container that exists ends. `rebuild`: build the images that exist, too.
        """
        self._folder = folder
        self._stack = config.stack
        self._display = display
        self._guard = guard
        self._rebuild = rebuild
        self._api = DockerApi()
        self._config = config.laid_over(overrides or {})
        self.identity = StackIdentity(project=config.project, stack=config.stack)
        self._state = stack_folder(self.identity)
        self._cancelled = threading.Event()

    def preview(self) -> Result:
        """What `up` would do; changes nothing."""
        return self._pass(preview=True)

    def up(self, scope: Scope = EVERYTHING) -> Result:
        """Brings the host to the state that the program declares. Continues an interrupted or failed run."""
        with stack_lock(self._state, self._stack), self._cancellable():
            # Errors of the program, and types that the engine does not support, show before anything changes.
            plan = self._pass(preview=True, scope=scope)
            if plan.failed or plan.unchanged:
                return plan
            removed = self._free_ports(plan.changes)
            result = self._pass(preview=False, scope=scope)
            known = {change.urn for change in result.changes}
            result.changes += [change for change in removed if change.urn not in known]
            return result

    def destroy(self, *, volumes: bool = False) -> Result:
        """Removes the stack's containers and networks, and with `volumes` its data. Images stay."""
        with stack_lock(self._state, self._stack), self._cancellable():
            kinds = KINDS if volumes else KINDS[:2]
            return Result(changes=self._remove([c for kind in kinds for c in self._existing(*kind)]))

    def leftovers(self) -> Result:
        """None: what an interrupted run made carries its labels, and the next run continues from there."""
        return Result(changes=[])

    def remove(self, changes: list[Change]) -> Result:
        """Removes containers and networks by name, also those that this engine did not make."""
        with stack_lock(self._state, self._stack), self._cancellable():
            return Result(changes=self._remove(changes))

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, of resources that exist."""
        return self._pass(preview=True).outputs

    def cancel(self) -> None:
        """Starts nothing more; what is under way finishes."""
        if not self._cancelled.is_set():
            self._cancelled.set()
            self._display.interrupted()

    def _pass(self, *, preview: bool, scope: Scope = EVERYTHING) -> Result:
        deployment = Deployment(
            self._types(), self._display, preview=preview, cancelled=self._cancelled, guard=self._guard, scope=scope
        )
        monitor = Monitor(deployment.handle)
        outputs = run_program(self._folder, self._config, monitor, preview=preview, on_interrupt=self.cancel)
        result = Result(changes=list(deployment.changes.values()), outputs=outputs)
        try:
            orphans = [one for one in self._orphans(set(deployment.changes)) if one.urn in scope]
        except DockerError:
            if not result.failed:
                raise
            return result  # the failures caused by Docker's end say more, and `ws matrix` retries them
        result.changes += orphans
        if not preview:
            self._remove([orphan for orphan in orphans if self._may_end(orphan)])
        return result

    def _free_ports(self, plan: list[Change]) -> list[Change]:
        """Removes containers with a port that another one gets: else that one could not start before they are gone.

        They leave the program, or are replaced and created by the run that follows.
        """
        gets: dict[int, set[str]] = defaultdict(set)
        for change in plan:
            if change.type == CONTAINER and change.action in (Action.CREATE, Action.REPLACE):
                for port in change.after.get("ports") or ():
                    gets[int(port["external"])].add(change.urn)
        leave = {change.urn for change in plan if change.action in (Action.DELETE, Action.REPLACE)}
        found = self._api.labelled("/containers/json", "", [*self.identity.label_filters, URN_LABEL]) if gets else []
        holders = [
            _deletion(container, CONTAINER)
            for container in found
            if (urn := container["Labels"][URN_LABEL]) in leave
            and any(gets.get(port.get("PublicPort"), set()) - {urn} for port in container["Ports"])
        ]
        return self._remove([holder for holder in holders if self._may_end(holder)])

    def _may_end(self, orphan: Change) -> bool:
        """Whether it may be removed; an objection becomes its error."""
        orphan.error = self._guard(orphan) or None
        return not orphan.error

    def _types(self) -> dict[str, ResourceType]:
        return {
            NETWORK: Network(self._api),
            VOLUME: Volume(self._api),
            CONTAINER: Container(self._api),
            IMAGE: Image(self._api, rebuild=self._rebuild),
            PULLED_IMAGE: RemoteImage(self._api),
            COMMAND: Command(
                self._state / "commands",
                lambda tag: self._api.find(f"/images/{tag}/json") is not None,
                self._cancelled,
            ),
        }

    def _orphans(self, declared: set[str]) -> list[Change]:
        """Containers and networks that this engine made for the stack and that left the program. Volumes are data."""
        found = [change for kind in KINDS[:2] for change in self._existing(*kind, made_here=True)]
        orphans = [change for change in found if change.urn not in declared]
        for change in orphans:
            change.reasons = ["is no longer in the program"]
        return orphans

    def _existing(self, listing: str, key: str, kind: str, *, made_here: bool = False) -> Iterator[Change]:
        for found in self._api.labelled(listing, key, self.identity.label_filters + ([URN_LABEL] if made_here else [])):
            yield _deletion(found, kind)

    def _remove(self, changes: list[Change]) -> list[Change]:
        """Removes containers in parallel, each after its dependents; then networks; then volumes."""
        containers = {change.urn: change for change in changes if change.type == CONTAINER}
        needed_by: dict[str, set[str]] = {urn: set() for urn in containers}
        for found in self._api.labelled("/containers/json", "", [AFTER_LABEL]) if containers else []:
            for urn in json.loads(found["Labels"][AFTER_LABEL]):
                if urn in needed_by and found["Labels"][URN_LABEL] in containers:
                    needed_by[urn].add(found["Labels"][URN_LABEL])
        order = TopologicalSorter(needed_by)
        order.prepare()
        with ThreadPoolExecutor() as pool:
            running: dict[Any, str] = {}
            try:
                while order.is_active():
                    for urn in order.get_ready():
                        running[pool.submit(self._delete, containers[urn])] = urn
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        order.done(running.pop(done))
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)  # those that stop already are waited for
                self.cancel()
                raise
        for change in changes:
            if change.type != CONTAINER:
                self._delete(change)
        return changes

    def _delete(self, change: Change) -> None:
        deletions: dict[str, Callable[[str], object]] = {
            CONTAINER: lambda name: remove_container(self._api, name),
            NETWORK: lambda name: self._api.call("DELETE", f"/networks/{name}"),
            VOLUME: lambda name: self._api.call("DELETE", f"/volumes/{name}"),
        }
        self._display.started(change)
        try:
            deletions[change.type](change.name)
        except DockerError as error:
            change.error = str(error)
        self._display.ended(change)

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.cancel()
            raise


def _deletion(found: Json, kind: str) -> Change:
    """The removal of an object that a listing has."""
    name = found["Names"][0].removeprefix("/") if "Names" in found else found["Name"]
    return Change(urn=found["Labels"].get(URN_LABEL, name), type=kind, name=name, action=Action.DELETE)
