"""The engines by name. On its own, because the command line needs the names before anything else."""

from enum import StrEnum


class EngineName(StrEnum):
    """The engines."""

    PULUMI = "pulumi"
    EMBEDDED = "embedded"


class EngineOption(StrEnum):
    """What `--engine` takes."""

    AUTO = "auto"
    PULUMI = "pulumi"
    EMBEDDED = "embedded"
