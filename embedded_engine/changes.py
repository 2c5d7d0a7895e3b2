"""What a run of an engine says of itself: changes and their result. Loads nothing of Pulumi, which takes its time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

# The types of the resources that people are told of by kind.
CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/image:Image"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
UNHEALTHY = "is unhealthy"  # the reason of a repair that restarts a container


def name_in(urn: str) -> str:
    """The name of a resource, by its URN."""
    return urn.rpartition("::")[2]


class ProgramError(Exception):
    """The program refused to run: a mistake in the stack config, in its own words."""


class Action(StrEnum):
    """What a run does, or would do, to a resource."""

    SAME = "same"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    REPAIR = "repair"
    DELETE = "delete"


@dataclass(kw_only=True)
class Change:
    """The fate of one resource in a run."""

    urn: str
    type: str
    name: str
    action: Action
    owner: str = ""  # name of the component that it is part of
    reasons: list[str] = field(default_factory=list)
    after: dict[str, Any] = field(default_factory=dict, repr=False)  # inputs of what is made anew, without secrets
    seconds: float = 0.0
    error: str | None = None
    skipped: bool = False  # because something that it needs failed


class Display(Protocol):
    """Shows a run while it goes on. Called from several threads."""

    def started(self, change: Change) -> None:
        """Work on a resource begins."""

    def progress(self, change: Change, text: str) -> None:
        """What is being done for it."""

    def ended(self, change: Change) -> None:
        """It is done, failed (`error`) or was skipped."""


# Asked when something that exists is about to end: why it must not, or nothing.
Guard = Callable[[Change], str]


def unguarded(_change: Change) -> str:
    """Anything may end."""
    return ""


@dataclass(kw_only=True)
class Result:
    """What a run did, or would do."""

    changes: list[Change]
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[Change]:
        """Changes that ended in an error (without those that were skipped because of one)."""
        return [change for change in self.changes if change.error]

    @property
    def ok(self) -> bool:
        """Whether everything is as the program wants it."""
        return not any(change.error or change.skipped for change in self.changes)

    @property
    def unchanged(self) -> bool:
        """Whether there was nothing to do."""
        return all(change.action is Action.SAME and not change.error for change in self.changes)
