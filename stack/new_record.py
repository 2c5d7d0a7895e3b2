"""The record of a run that begins, as `ws` and the program write it."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from config.problems import ConfigError
from config.project import FOLDER, commit, version
from config.stack_file import StackFile
from stack.history import Operation, Record, who
from stack.kept_files import kept_files


def new_record(
    operation: Operation, engine: str, environment: Mapping[str, str], file: Callable[[], StackFile], **more: object
) -> Record:
    """The record; `more`: further fields. A stack file that cannot be read is not kept, nor is that of a `down`."""
    files: dict[str, str] = {}
    masked: tuple[str, ...] = ()
    if operation is not Operation.DOWN:
        with suppress(ConfigError):
            files, masked = kept_files(file(), FOLDER)
    return Record.model_validate(
        {
            "operation": operation, "engine": engine, "who": who(environment), "started": time.time(),
            "version": version(), "commit": commit(), "files": files, "masked": masked, **more,
        }
    )  # fmt: skip
