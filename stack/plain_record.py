"""The record that the program itself writes of a plain `pulumi up`: `ws` writes those of its own commands.

The program sees the beginning, and the verification, which runs after everything else. How a run ended that came to no
verification, only Pulumi knows.
"""

import time
from collections.abc import Callable
from contextlib import suppress

from config.encryption import Passphrase
from config.problems import ConfigError
from config.project import FOLDER, commit, version
from config.stack_file import StackFile
from stack.history import History, Operation, Outcome, Record, who
from stack.identity import ASKS
from stack.kept_files import kept_files
from stack.stack import Stack


def begin(stack: Stack) -> Callable[[str], None]:
    """Writes the record. Returns a function that adds the result of the verification, when that has passed."""
    if ASKS in stack.environment:
        return lambda _: None
    files: dict[str, str] = {}
    masked: tuple[str, ...] = ()
    with suppress(ConfigError):
        file = StackFile.read(FOLDER, stack.identity.stack, Passphrase(stack.environment))
        files, masked = kept_files(file, FOLDER)
    history = History(stack.identity)
    record = Record(
        operation=Operation.UP,
        engine="pulumi",
        who=who(stack.environment),
        started=time.time(),
        version=version(),
        commit=commit(),
        outcome=Outcome.UNKNOWN,
        files=files,
        masked=masked,
    )
    try:
        begun = history.begin(record)
    except OSError:  # a gap in the history is no reason to stop a deployment
        return lambda _: None

    def verified(result: str) -> None:
        with suppress(OSError):
            history.write(begun.ended(Outcome.DONE, verification=result))

    return verified
