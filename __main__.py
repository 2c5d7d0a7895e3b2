"""The Pulumi program: stack config → settings → resources → outputs. Reads the config and the environment."""

import os
import sys
from pathlib import Path

import pulumi

from config import keys
from config.problems import SettingsError
from config.stack_file import encrypted_paths
from images.budgets import BudgetError
from images.dockerfile import DockerfileError
from preflight import docker_engine
from program import declare
from stack.identity import StackIdentity
from stack.pulumi_internals import program_config, secret_keys
from stack.secrets import SecretError
from stack.stack import Stack

PROJECT = Path(__file__).parent


def interpreter() -> str:
    """The Python of this program; a relative path if possible, since commands are compared literally."""
    prefix = Path(sys.prefix)
    return f"{prefix.relative_to(PROJECT)}/bin/python" if prefix.is_relative_to(PROJECT) else sys.executable


def main() -> None:
    """Declares one host's part of the platform, or the image family."""
    stack = Stack(
        identity=StackIdentity(project=pulumi.get_project(), stack=pulumi.get_stack()),
        config=pulumi.Config().get,
        dry_run=pulumi.runtime.is_dry_run(),
        python=interpreter(),
        environment=os.environ,
    )
    try:
        config = program_config()
        keys.check(config, stack_file=stack.file)
        keys.refuse_encrypted(
            secret_keys(),
            stack_file=stack.file,
            stack=stack.identity.stack,
            encrypted=encrypted_paths(PROJECT / stack.file),
        )
        docker_engine.refuse_other_engine(config, stack_file=stack.file)
        outputs = declare(stack)
    except (SettingsError, SecretError, BudgetError, DockerfileError) as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in outputs.items():
        pulumi.export(name, value)


main()
