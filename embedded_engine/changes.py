"""An engine's report of a run: changes and their result. Does not import Pulumi, which is slow to load."""

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

# Resource types that messages name by kind.
CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/image:Image"
PULLED_IMAGE = "docker:index/remoteImage:RemoteImage"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
COMMAND = "command:local:Command"
UNHEALTHY = "is unhealthy"  # the reason of a repair that restarts a container


def name_in(urn: str) -> str:
    """The name of a resource, by its URN."""
    return urn.rpartition("::")[2]


class ProgramError(Exception):
    """The program refused to run, mostly because of a mistake in the stack config; its own message."""


class Action(StrEnum):
    """An operation of a run on a resource."""

    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    REPAIR = "repair"
    DELETE = "delete"


@dataclass(kw_only=True)
class Change:
    """What happens to one resource in a run."""

    urn: str
    type: str
    name: str
    action: Action
    owner: str = ""  # name of the component that it is part of
    reasons: list[str] = field(default_factory=list)
    after: dict[str, Any] = field(default_factory=dict, repr=False)  # inputs of the recreated object, without secrets
    seconds: float = 0.0
    error: str | None = None
    skipped: bool = False  # because a dependency failed


class Display(Protocol):
    """Shows the progress of a run. Called from several threads."""

    def started(self, change: Change) -> None:
        """Work on a resource begins."""

    def progress(self, change: Change, text: str) -> None:
        """The current step of the work on it."""

    def ended(self, change: Change) -> None:
        """It is finished, failed (`error`) or was skipped."""

    def interrupted(self) -> None:
        """The run was interrupted, and waits for what is under way."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The resources that a run may change, by URN; it leaves all others as they are."""

    only: Set[str] | None = None  # None: all
    without: Set[str] = frozenset()

    def __contains__(self, urn: str) -> bool:
        return urn not in self.without and (self.only is None or urn in self.only)

    @property
    def whole(self) -> bool:
        """Whether it leaves nothing out."""
        return self.only is None and not self.without


EVERYTHING = Scope()

# Called before an existing object ends. Returns why it must not, or an empty text.
Guard = Callable[[Change], str]


def unguarded(_change: Change) -> str:
    """Objects to nothing."""
    return ""


@dataclass(kw_only=True)
class Result:
    """The result of a run, or of a preview."""

    changes: list[Change]
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[Change]:
        """Changes that failed, without those skipped because of them."""
        return [change for change in self.changes if change.error]

    @property
    def ok(self) -> bool:
        """Whether everything is in the state that the program declares."""
        return not any(change.error or change.skipped for change in self.changes)

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to do."""
        return all(change.action is Action.SAME and not change.error for change in self.changes)
