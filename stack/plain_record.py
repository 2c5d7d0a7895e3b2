"""The record that the program itself writes of a plain `pulumi up`: `ws` writes those of its own commands.

The program sees the beginning, and the verification, which runs after everything else. How a run ended that came to no
verification, only Pulumi knows.
"""

from collections.abc import Callable
from contextlib import suppress

from config.encryption import Passphrase
from config.project import FOLDER
from config.stack_file import StackFile
from stack.history import History, Operation, Outcome
from stack.identity import ASKS
from stack.new_record import new_record
from stack.stack import Stack


def begin(stack: Stack) -> Callable[[str], None]:
    """Writes the record. Returns a function that adds the result of the verification, when that has passed."""
    if ASKS in stack.environment:
        return lambda _: None
    history = History(stack.identity)
    record = new_record(
        Operation.UP,
        "pulumi",
        stack.environment,
        lambda: StackFile.read(FOLDER, stack.identity.stack, Passphrase(stack.environment)),
        outcome=Outcome.UNKNOWN,
    )
    try:
        begun = history.begin(record)
    except OSError:  # a gap in the history is no reason to stop a deployment
        return lambda _: None

    def verified(result: str) -> None:
        with suppress(OSError):
            history.write(begun.ended(Outcome.DONE, verification=result))

    return verified
