"""One step of a build. Apart from trace.py, which takes long to import."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a build, such as ``[runtime 2/3] RUN …`` or ``exporting to image``. Times: seconds of the epoch."""

    name: str
    started: float | None = None  # None: it never began
    completed: float | None = None  # None: it never ended
    cached: bool = False
    error: str = ""

    @property
    def seconds(self) -> float:
        """How long it ran; a step that never ran took no time."""
        return self.completed - self.started if self.started and self.completed else 0.0
