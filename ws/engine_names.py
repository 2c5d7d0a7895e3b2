"""The engines by name. A separate module, because the command line needs the names before anything else."""

from enum import StrEnum


class EngineName(StrEnum):
    """The engines."""

    PULUMI = "pulumi"
    EMBEDDED = "embedded"


class EngineOption(StrEnum):
    """The values of `--engine`."""

    AUTO = "auto"
    PULUMI = "pulumi"
    EMBEDDED = "embedded"
