"""The Pulumi program: stack config → settings → Platform → outputs. Nothing else reads config or the environment."""

import json
import sys
from pathlib import Path

import pulumi

from components.files import HostFiles, stack_folder
from components.host import HostFacts, check
from components.identity import StackIdentity
from components.platform import Platform, PlatformArgs
from components.secrets import SecretError, SecretFiles
from components.settings import SettingsError, config_value, load
from components.sources import choose_sources

PROJECT = Path(__file__).parent


def interpreter() -> str:
    """The Python of this program; relative where it can be, since commands are compared literally."""
    prefix = Path(sys.prefix)
    return f"{prefix.relative_to(PROJECT)}/bin/python" if prefix.is_relative_to(PROJECT) else sys.executable


def main() -> None:
    """Declares one host's part of the platform."""
    config = pulumi.Config()
    identity = StackIdentity(project=pulumi.get_project(), stack=pulumi.get_stack())
    stack_file = f"Pulumi.{identity.stack}.yaml"
    dry_run = pulumi.runtime.is_dry_run()
    files = HostFiles(folder=stack_folder(identity), dry_run=dry_run)
    try:
        settings = load(config_value(config.get("platform")), stack_file=stack_file)
        if config.get_bool("preflight") is not False:
            check(settings, HostFacts.probe(identity.project, identity.stack), stack_file)
        secrets = SecretFiles.resolve(files, config.get, stack_file=stack_file, namespace=identity.project)
    except (SettingsError, SecretError) as error:
        raise pulumi.RunError(str(error)) from None
    sources, notes = choose_sources(
        settings.images, gpu=settings.gpu.enabled, kept=files.folder / "sources.json", dry_run=dry_run
    )
    for note in notes:
        pulumi.info(note)
    platform = Platform(
        "platform",
        PlatformArgs(
            settings=settings, identity=identity, files=files, secrets=secrets, sources=sources, python=interpreter()
        ),
    )
    pulumi.export("urls", platform.urls())
    pulumi.export("sources", {"bases": sources.bases, "torch": sources.torch})
    if platform.verification:
        pulumi.export("verification", platform.verification.result.apply(json.loads))
        pulumi.export("verification_spec", platform.verification.spec)


main()
