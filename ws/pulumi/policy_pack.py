"""Implements `--policy-pack`: has Pulumi's engine ask the rules of hardening, about what its providers are given."""

from importlib.util import find_spec

from ws.engine_names import EngineName
from ws.errors import WsError

FOLDER = "policy"  # in the program's folder
OPTION = ("--policy-pack", FOLDER)


def check(engine: EngineName) -> None:
    """Raises `WsError`, with the remedy, where no policy pack can be asked."""
    if engine is not EngineName.PULUMI:
        raise WsError(
            "--policy-pack is for Pulumi's engine. The embedded engine, which this stack has, asks the same rules "
            "without it. Nothing was changed.\n"
            "  Leave it out, or use --engine pulumi (docs/security.md#as-a-policy-pack-of-pulumi)"
        )
    if find_spec("pulumi_policy") is None:
        raise WsError(
            "--policy-pack needs the package pulumi-policy, which is not installed. Nothing was changed.\n"
            "  To install it: make .venv/ready-policy"
        )
