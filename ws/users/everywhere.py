"""A person in all parts of a stack at once: notebooks of their own, and an account in MLflow where it has logins.

What can refuse is asked before anything is written: MLflow first, then the stack file. So a command that was killed, or
failed between the two, is completed by the same command again.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace

from config.problems import closest
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack
from ws.users import people
from ws.users.accounts import OWN, Accounts

BYTES = 18  # of a generated password


def add(stack: str, name: str, wanted: Mapping[str, str | float | None]) -> tuple[list[str], str | None]:
    """Gives a person notebooks and an account. Returns what changed, and the password of a new account.

    An account that is there keeps its password. Raises `WsError`; nothing is changed then, but for an account that
    could not be made after the stack file was written.
    """
    configured = open_stack(stack)
    accounts = _accounts(configured)
    if accounts is None:
        return people.add(stack, name, wanted), None
    people.check(name)
    if name in OWN:
        raise WsError(
            f"{name} is an account of the platform itself in MLflow: choose another name. Nothing was changed."
        )
    new = name not in accounts.names()
    notebooks = configured.platform.marimo
    lines = []
    asked = any(each is not None for each in wanted.values())
    if notebooks.enabled and (name not in notebooks.users or not new or asked):
        lines = people.add(stack, name, wanted)
    if not new:
        return [*lines, f"{name} has an account in MLflow already; its password stays."], None
    password = secrets.token_urlsafe(BYTES)
    accounts.add(name, password)
    return [*lines, f"{name} has an account in MLflow now."], password


def remove(stack: str, name: str) -> list[str]:
    """Takes a person's notebooks out of service, and deletes the account. Raises `WsError` for one who has neither."""
    configured = open_stack(stack)
    accounts = _accounts(configured)
    if accounts is None:
        return people.remove(stack, name)
    _refuse_own(name)
    there = accounts.names()
    lines = []
    if name in configured.platform.marimo.users or name not in there:
        lines = people.remove(stack, name)
    if name in there:
        accounts.remove(name)
        lines.append(
            f"{name}'s account in MLflow is deleted, and works for at most 60 s more. What {name} logged stays."
        )
    return lines


def password(stack: str, name: str, given: str | None) -> str | None:
    """Gives an account another password: the given one, or one that is made and returned. Raises `WsError`."""
    accounts = _accounts(open_stack(stack))
    if accounts is None:
        raise WsError(f"MLflow of stack {stack} has no logins. Turn them on: ws set mlflow.logins true -s {stack}")
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


def _refuse_own(name: str) -> None:
    if name in OWN:
        raise WsError(
            f"{name} is an account of the platform itself. Give it another password: ws secrets rotate. "
            "Nothing was changed."
        )
