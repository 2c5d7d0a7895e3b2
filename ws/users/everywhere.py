"""A person in all parts of a stack at once: notebooks of their own, and an account in MLflow where it has logins.

What can refuse is asked before anything is written: MLflow first, then the stack file. So a command that was killed, or
failed between the two, is completed by the same command again.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from config.problems import closest
from embedded_engine.lock import stack_lock
from stack.state import stack_folder
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack
from ws.users import people
from ws.users.accounts import OWN, Accounts, turn_on

BYTES = 18  # of a generated password
FOLDER = "people"  # of the lock, in the stack's state folder


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command changed."""

    lines: list[str]
    deploy: bool  # whether it takes effect with the next `ws up` alone
    password: str | None = field(default=None, repr=False)  # of a new account


def add(stack: str, name: str, wanted: Mapping[str, str | float | None], *, own_notebooks: bool = True) -> Done:
    """Gives a person notebooks and an account, or the account alone. An account that is there keeps its password.

    Raises `WsError`; nothing is changed then, but for an account that could not be made after the stack file was
    written. Raises `LockedError` while another command adds or removes somebody.
    """
    identity = open_stack(stack).identity
    with stack_lock(stack_folder(identity) / FOLDER, stack, work="command", holder=f"ws user add {name[:60]}"):
        configured = open_stack(stack)
        return _add(configured, name, wanted) if own_notebooks else _add_account(configured, name)


def _add(configured: StackSettings, name: str, wanted: Mapping[str, str | float | None]) -> Done:
    stack = configured.identity.stack
    accounts = _accounts(configured)
    if accounts is None:
        return Done(lines=people.add(stack, name, wanted), deploy=True)
    people.check(name)
    if name in OWN:
        raise WsError(
            f"{name} is an account of the platform itself in MLflow: choose another name. Nothing was changed."
        )
    new = name not in accounts.names()
    notebooks = configured.platform.marimo
    asked = any(each is not None for each in wanted.values())
    if not new and not asked and name in notebooks.users:
        raise WsError(
            f"{name} has notebooks already, and an account in MLflow: ws user list -s {stack}\n"
            f"  To give the account another password: ws user password {name} -s {stack}"
        )
    # One that was interrupted between the two has notebooks, and no account: it is completed.
    wants_notebooks = notebooks.enabled and (name not in notebooks.users or (asked and not new))
    lines = people.add(stack, name, wanted) if wants_notebooks else []
    if not new:
        lines.append(
            f"{name} has an account in MLflow already; its password stays. Another one: ws user password {name} "
            f"-s {stack}"
        )
        return Done(lines=lines, deploy=wants_notebooks)
    return replace(_made(accounts, name, lines), deploy=wants_notebooks)


def _add_account(configured: StackSettings, name: str) -> Done:
    stack = configured.identity.stack
    accounts = _accounts(configured)
    if accounts is None:
        raise _no_logins(configured)
    people.check(name)
    _refuse_own(name)
    if name in accounts.names():
        raise WsError(f"{name} has an account in MLflow already. Another password: ws user password {name} -s {stack}")
    return _made(accounts, name, [])


def _made(accounts: Accounts, name: str, lines: list[str]) -> Done:
    password = secrets.token_urlsafe(BYTES)
    accounts.add(name, password)
    return Done(lines=[*lines, f"{name} has an account in MLflow now."], deploy=False, password=password)


def remove(stack: str, name: str) -> Done:
    """Takes a person's notebooks out of service, and deletes the account.

    Raises `WsError` for one who has neither, and `LockedError` while another command adds or removes somebody.
    """
    identity = open_stack(stack).identity
    with stack_lock(stack_folder(identity) / FOLDER, stack, work="command", holder=f"ws user remove {name[:60]}"):
        return _remove(open_stack(stack), name)


def _remove(configured: StackSettings, name: str) -> Done:
    stack = configured.identity.stack
    accounts = _accounts(configured)
    if accounts is None:
        return Done(lines=people.remove(stack, name), deploy=True)
    _refuse_own(name)
    account = name in accounts.names()
    notebooks = configured.platform.marimo
    has_notebooks = notebooks.enabled and name in notebooks.users
    lines = people.remove(stack, name) if has_notebooks or not account else []
    if account:
        accounts.remove(name)
        lines.append(
            f"{name}'s account in MLflow is deleted, and works for at most 60 s more. What {name} logged stays."
        )
    return Done(lines=lines, deploy=has_notebooks)


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
