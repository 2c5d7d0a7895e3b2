"""Verification: runs after a deployment, and again whenever a container that it checks was replaced.

Owns the command and its specification. The checks are in verification/ (on the host) and entrypoints/verify_cluster.py
(in a client container inside the network).
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_command as command

from components.service import Service
from verification import record
from verification.spec import ENVIRONMENT, VerificationSpec


@dataclass(frozen=True, kw_only=True)
class VerificationArgs:
    """The specification, and the services that must be ready before the checks start."""

    spec: pulumi.Output[VerificationSpec]  # waits for the client's image
    record: str  # the file on this host that keeps the result
    services: Sequence[Service]
    python: str  # the interpreter that runs the checks


class Verification(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:verification:Verification``. Fails the deployment if a check fails."""

    result: pulumi.Output[str]  # in a sentence: "13 of 13 passed"

    def __init__(self, name: str, args: VerificationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:verification:Verification", name, None, opts)
        run = command.local.Command(
            name,
            create=shlex.join([args.python, "-m", "verification"]),
            environment={
                ENVIRONMENT: args.spec.apply(lambda spec: spec.model_dump_json()),
                record.ENVIRONMENT: args.record,
            },
            # stderr is progress; stdout becomes an output and need not be logged too.
            logging=command.local.Logging.STDERR,
            # A replaced container is checked again; a changed program has another path in the specification.
            triggers=[service.container.id for service in args.services],
            # Outputs of an earlier run in the environment can be too long for it (pulumi-command#285).
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(args.services)),
        )
        self.result = run.stdout
        self.register_outputs({"result": self.result})
