"""Decides the operation for each resource, in order, and performs it: same, create, update, replace or repair."""

import threading
import time
from collections.abc import Collection, Iterator, Mapping

from docker_api.api import DockerError
from docker_api.builds import BuildError
from embedded_engine.changes import EVERYTHING, Action, Change, Display, Guard, Scope, unguarded
from embedded_engine.differences import differences
from embedded_engine.program import Outcome
from embedded_engine.registration import Registration
from embedded_engine.resources.base import Actual, ResourceError, ResourceType

__all__ = ["Action", "Change", "Deployment", "Display", "Guard", "UnknownTypeError", "unguarded"]


class Deployment:
    """One pass over the program. With `preview` nothing is changed."""

    def __init__(
        self,
        types: Mapping[str, ResourceType],
        display: Display,
        *,
        preview: bool,
        cancelled: threading.Event,
        guard: Guard = unguarded,
        scope: Scope = EVERYTHING,
    ) -> None:
        self._scope = scope
        self._types = types
        self._display = display
        self._preview = preview
        self._cancelled = cancelled
        self._guard = guard
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._replaced: dict[str, str] = {}  # URN → why what depends on it is replaced with it
        self.changes: dict[str, Change] = {}

    def handle(self, wanted: Registration) -> Outcome:
        """Brings one resource to the state that the program declares. Never raises: independent resources continue."""
        change = Change(urn=wanted.urn, type=wanted.type, name=wanted.name, action=Action.SAME, owner=wanted.owner)
        with self._lock:
            if wanted.urn in self.changes:
                change.error = "is declared twice"
            self.changes[wanted.urn] = change
            change.skipped = self._cancelled.is_set() or not self._failed.isdisjoint(wanted.dependencies)
        began = time.monotonic()
        actual = None
        try:
            actual = None if change.skipped or change.error else self._apply(wanted, change)
        except (BuildError, DockerError, ResourceError, UnknownTypeError) as error:
            change.error = str(error)
        except Exception as error:  # noqa: BLE001 (what is under way elsewhere must finish)
            change.error = f"{type(error).__name__}: {error}"
        change.seconds = time.monotonic() - began
        if change.error or change.skipped:
            with self._lock:
                self._failed.add(wanted.urn)
        self._display.ended(change)
        if change.error or change.skipped:
            return None
        return (actual.identifier, actual.outputs) if actual else ("", {})

    def _apply(self, wanted: Registration, change: Change) -> Actual | None:
        resource = self._type_of(wanted)
        actual = resource.read(wanted)
        if wanted.urn not in self._scope:
            return actual
        change.action, change.reasons = self._decide(wanted, resource, actual)
        if change.action is Action.REPLACE and resource.replaces_dependents:
            with self._lock:
                self._replaced[wanted.urn] = resource.replaces_dependents
        if change.action is Action.SAME:
            return actual
        change.after = wanted.recorded
        if self._preview:
            # A change makes new outputs, which are unknown until then; a repaired resource keeps its own.
            return actual if change.action is Action.REPAIR else None
        self._display.started(change)
        return self._make(wanted, resource, actual, change)

    def _make(self, wanted: Registration, resource: ResourceType, actual: Actual | None, change: Change) -> Actual:
        def progress(text: str) -> None:
            if self._cancelled.is_set():
                raise ResourceError("was interrupted")
            self._display.progress(change, text)

        if change.action in (Action.REPLACE, Action.REPAIR) and (objection := self._guard(change)):
            raise ResourceError(objection)
        if change.action is Action.REPLACE and actual:
            resource.delete(actual, progress)
        return resource.create(wanted, actual if change.action is Action.REPAIR else None, progress)

    def _decide(self, wanted: Registration, resource: ResourceType, actual: Actual | None) -> tuple[Action, list[str]]:
        redo = Action.REPLACE if resource.replaces else Action.UPDATE
        why = next((self._replaced[urn] for urn in wanted.dependencies if urn in self._replaced), "")
        if why and resource.replaced_with_dependencies:
            return Action.REPLACE, [why]
        if actual is None:
            return Action.CREATE, []
        if actual.inputs is None:
            return redo, ["was made by another engine, or left half made"]
        if changed := differences(actual.inputs, wanted.recorded):
            return redo, changed
        return (Action.REPAIR, [actual.defect]) if actual.defect else (Action.SAME, [])

    def _type_of(self, wanted: Registration) -> ResourceType:
        resource = self._types.get(wanted.type)
        if resource is None:
            raise UnknownTypeError(
                f"the embedded engine does not know the type {wanted.type}, only {', '.join(sorted(self._types))}.\n"
                "  Deploy this program with --engine pulumi."
            )
        if unknown := sorted(set(_names(wanted.inputs, resource.inputs)) - resource.inputs):
            raise UnknownTypeError(
                f"the embedded engine does not know the input {', '.join(unknown)} of {wanted.type}.\n"
                "  Deploy this program with --engine pulumi."
            )
        return resource


def _names(inputs: Mapping[str, object], known: Collection[str]) -> Iterator[str]:
    """The names of inputs. For an object whose keys are known one by one, those of the keys: ``build.args``."""
    for name, value in inputs.items():
        if isinstance(value, dict) and any(one.startswith(f"{name}.") for one in known):
            yield from (f"{name}.{key}" for key in value)
        else:
            yield name


class UnknownTypeError(Exception):
    """The program uses a type or an input that this engine does not support."""
