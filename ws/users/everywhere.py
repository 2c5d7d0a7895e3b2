"""A person in all parts of a stack at once: notebooks of their own, and an account in MLflow where it has logins.

What can refuse is asked before anything is written: MLflow first, then the stack file. So a command that was killed, or
failed between the two, is completed by the same command again. That holds until the password of a new account is
printed: one that nobody has seen is replaced.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from config.problems import closest
from embedded_engine.lock import stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder, write_atomically
from ws.config.editing import SECONDS
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack
from ws.users import people
from ws.users.accounts import OWN, Accounts, RefusedError, turn_on

BYTES = 18  # of a generated password
FOLDER = "people"  # of the lock and of what is not done, in the stack's state folder


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command changed."""

    lines: list[str]
    deploy: bool  # whether it takes effect with the next `ws up` alone
    password: str | None = field(default=None, repr=False)  # of a new account


def add(stack: str, name: str, wanted: Mapping[str, str | float | None], *, own_notebooks: bool = True) -> Done:
    """Gives a person notebooks and an account, or the account alone. `told` ends it.

    An account that is there keeps its password.

    Raises `WsError`; nothing is changed then, but for an account that could not be made after the stack file was
    written. Raises `LockedError` while another command adds or removes somebody.
    """
    identity = open_stack(stack).identity
    with _alone(identity, f"ws user add {name[:60]}"):
        configured = open_stack(stack)
        return _add(configured, name, wanted) if own_notebooks else _add_account(configured, name)


def _add(configured: StackSettings, name: str, wanted: Mapping[str, str | float | None]) -> Done:
    identity, notebooks = configured.identity, configured.platform.marimo
    stack, accounts = identity.stack, _accounts(configured)
    if accounts is None:
        return Done(lines=people.add(stack, name, wanted), deploy=True)
    people.check(name)
    if name in OWN:
        raise WsError(
            f"{name} is an account of the platform itself in MLflow: choose another name. Nothing was changed."
        )
    there, untold = name in accounts.names(), _untold(identity, name)
    known, asked = name in notebooks.users, any(each is not None for each in wanted.values())
    interrupted = known and (not there or untold.exists())
    if there and known and not asked and not interrupted:
        raise WsError(
            f"{name} has notebooks already, and an account in MLflow: ws user list -s {stack}\n"
            f"  To give the account another password: ws user password {name} -s {stack}"
        )
    lines = []
    if notebooks.enabled:
        lines = [people.hint(stack, name)] if interrupted else people.add(stack, name, wanted)
    deploy = notebooks.enabled and not (interrupted and people.is_deployed(identity, name))
    if there and not untold.exists():
        lines.append(
            f"{name} has an account in MLflow already; its password stays. Another one: ws user password {name} "
            f"-s {stack}"
        )
        return Done(lines=lines, deploy=deploy)
    return _with_account(accounts, name, untold, Done(lines=lines, deploy=deploy), there=there)


def _add_account(configured: StackSettings, name: str) -> Done:
    identity, accounts = configured.identity, _accounts(configured)
    if accounts is None:
        raise _no_logins(configured)
    people.check(name)
    _refuse_own(name)
    there, untold = name in accounts.names(), _untold(identity, name)
    if there and not untold.exists():
        raise WsError(
            f"{name} has an account in MLflow already. Another password: ws user password {name} -s {identity.stack}"
        )
    return _with_account(accounts, name, untold, Done(lines=[], deploy=False), there=there)


def _with_account(accounts: Accounts, name: str, untold: Path, done: Done, *, there: bool) -> Done:
    password = secrets.token_urlsafe(BYTES)
    write_atomically(untold, b"", 0o600)
    if there:
        accounts.set_password(name, password)
        said = f"{name} has an account in MLflow, of a run that was interrupted, and another password now."
    else:
        try:
            accounts.add(name, password)
        except RefusedError:
            untold.unlink(missing_ok=True)  # an account of that name, now or later, is somebody else's work
            raise
        said = f"{name} has an account in MLflow now."
    return replace(done, lines=[*done.lines, said], password=password)


def told(stack: str, name: str) -> None:
    """To be called once the password of a new account was printed: `add` replaces one that nobody has seen."""
    _untold(open_stack(stack).identity, name).unlink(missing_ok=True)


def remove(stack: str, name: str) -> Done:
    """Takes a person's notebooks out of service, and deletes the account.

    Raises `WsError` for one who has neither, and `LockedError` while another command adds or removes somebody.
    """
    identity = open_stack(stack).identity
    with _alone(identity, f"ws user remove {name[:60]}"):
        return _remove(open_stack(stack), name)


def _remove(configured: StackSettings, name: str) -> Done:
    identity, notebooks = configured.identity, configured.platform.marimo
    stack, accounts = identity.stack, _accounts(configured)
    if accounts is None:
        return Done(lines=people.remove(stack, name), deploy=True)
    _refuse_own(name)
    account = name in accounts.names()
    has_notebooks = notebooks.enabled and (name in notebooks.users or people.has_token(identity, name))
    lines = people.remove(stack, name) if has_notebooks or not account else []
    deploy = has_notebooks or people.is_deployed(identity, name)
    if account:
        accounts.remove(name)
        lines.append(
            f"{name}'s account in MLflow is deleted, and works for at most 60 s more. What {name} logged stays."
        )
    _untold(identity, name).unlink(missing_ok=True)
    return Done(lines=lines, deploy=deploy)


def password(stack: str, name: str, given: str | None) -> str | None:
    """Gives an account another password: the given one, or one that is made and returned. Raises `WsError`."""
    configured = open_stack(stack)
    accounts = _accounts(configured)
    if accounts is None:
        raise _no_logins(configured)
    _refuse_own(name)
    there = accounts.names()
    if name not in there:
        guess = closest(name, there)
        raise WsError(
            f"{name[:60]!r} has no account in MLflow of stack {stack}.{f' Did you mean {guess}?' if guess else ''} "
            f"To give them one: ws user add {name[:60]} -s {stack}"
        )
    made = secrets.token_urlsafe(BYTES) if given is None else None
    accounts.set_password(name, given or made or "")
    _untold(configured.identity, name).unlink(missing_ok=True)
    return made


def found(stack: str) -> tuple[list[people.Person], str]:
    """Everybody with notebooks or an account, and why accounts are not known, if they should be."""
    configured = open_stack(stack)
    try:
        accounts = _accounts(configured)
        names = None if accounts is None else accounts.names()
        problem = ""
    except WsError as error:
        names, problem = None, f"Accounts in MLflow are not listed: {error}"
    listed = people.found(stack) if names is None or configured.platform.marimo.enabled else []
    if names is None:
        return listed, problem
    known = [replace(one, account=one.name in names) for one in listed]
    others = (name for name in names if name not in {one.name for one in known})
    return known + [people.Person(name=name, state=people.NONE, volume="", account=True) for name in others], problem


@contextmanager
def _alone(identity: StackIdentity, command: str) -> Iterator[None]:
    """Keeps other commands from adding or removing people. Raises `LockedError`."""
    folder = stack_folder(identity) / FOLDER
    with stack_lock(folder, identity.stack, work="command", holder=command, seconds=SECONDS, shared=True):
        yield


def _untold(identity: StackIdentity, name: str) -> Path:
    """The file that is there from before an account is made until its password was printed."""
    return stack_folder(identity) / FOLDER / f"{name}.untold"


def _accounts(configured: StackSettings) -> Accounts | None:
    if configured.matrix is not None or not configured.platform.mlflow.logins:
        return None
    return Accounts.of(configured.identity)


def _no_logins(configured: StackSettings) -> WsError:
    stack = configured.identity.stack
    return WsError(f"MLflow of stack {stack} has no logins. Turn them on: {turn_on(stack, configured.membership)}")


def _refuse_own(name: str) -> None:
    if name in OWN:
        raise WsError(
            f"{name} is an account of the platform itself. Give it another password: ws secrets rotate. "
            "Nothing was changed."
        )
