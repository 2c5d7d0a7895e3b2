"""The files of a stack that its history keeps: the stack file without plain secrets, and the lock of its packages."""

from contextlib import suppress
from pathlib import Path

from config.masking import masked
from config.packages import lock_name
from config.stack_file import StackFile
from stack.history import MOST_TEXT


def kept_files(file: StackFile, folder: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Name → text of each, and the keys whose plain secrets were taken out. No text that is too large for a record.

    Raises `ConfigError` where the stack file is not valid YAML.
    """
    text, keys = masked(file)
    files, lock = {file.name: text}, folder / lock_name(file.name)
    with suppress(OSError, UnicodeDecodeError):  # most stacks have none
        files[lock.name] = lock.read_text(encoding="utf-8")
    return (files, keys) if sum(map(len, files.values())) <= MOST_TEXT else ({}, ())
