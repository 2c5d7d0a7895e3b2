"""The identity of a stack: names and labels of all its Docker objects."""

from dataclasses import dataclass

ASKS = "CSLR_ASKS"  # variable by which `ws` tells the program that it asks before anything ends
GENERATES = "CSLR_GENERATES"  # variable by which `ws generate` tells it that its declarations are written, not made
# By this variable of a command's environment engines know which image it makes, and whether that is there.
LEAVES_IMAGE = "CSLR_LEAVES_IMAGE"
# On what the embedded engine made: the URN of the resource.
EMBEDDED_LABEL = "cslr.engine.urn"
VOLUME_OWNER = "volume-owner"  # component of what Compose starts once, to give a new volume to its user
COMPOSE_LABEL = "com.docker.compose.project"  # on what Docker Compose made, from the file of `ws generate`


@dataclass(frozen=True, kw_only=True)
class StackIdentity:
    """One project and stack; the source of every container name, volume name and label."""

    project: str
    stack: str

    @property
    def prefix(self) -> str:
        """The prefix of container and volume names, and Ray's storage namespace: ``cslr-dev``."""
        return f"{self.project}-{self.stack}"

    def object_name(self, part: str) -> str:
        """Name of a container or volume: ``cslr-dev-redis``."""
        return f"{self.prefix}-{part}"

    def labels(self, component: str) -> dict[str, str]:
        """Labels by which `ws`, the preflight and the embedded engine recognise the stack's own objects."""
        return {"cslr.component": component, "cslr.project": self.project, "cslr.stack": self.stack}

    @property
    def label_filters(self) -> list[str]:
        """What Docker's lists are filtered by, to give the stack's own objects."""
        return [f"cslr.project={self.project}", f"cslr.stack={self.stack}"]
