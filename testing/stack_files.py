"""Stack files, read as a command reads them."""

import os
from collections.abc import Mapping
from pathlib import Path

from config.encryption import Passphrase
from config.stack_file import StackConfig, StackFile
from ws.stack_settings import StackSettings


def read_stack_config(folder: Path, stack: str) -> StackConfig:
    """The config of one stack, decrypted by the passphrase of this process's environment. Raises `ConfigError`."""
    return StackFile.read(folder, stack, Passphrase(os.environ)).config


def written(text: str, stack: str = "dev") -> StackFile:
    """A stack file of this text."""
    return StackFile(project="cslr", stack=stack, text=text, passphrase=Passphrase({}))


def configured(text: str = "", stack: str = "dev", environment: Mapping[str, str] | None = None) -> StackSettings:
    """A stack whose file has this text."""
    return StackSettings(file=written(text, stack), environment=environment or {})
