"""What `ws user list` shows."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from config.notation import format_quantity
from ws.containers import styled
from ws.tables import plain_table
from ws.users.people import Person


def table(people: Iterable[Person]) -> Table:
    """One line for each person."""
    people = list(people)
    logins = any(one.account is not None for one in people)
    columns = ("Person", "Address", "State", "CPUs", "Memory", "Token in", "Notebooks in")
    shown = plain_table((*columns, "MLflow") if logins else columns)
    for one in people:
        limits = (f"{one.cpus:g}", format_quantity(one.memory)) if one.cpus else ("", "")
        shown.add_row(
            one.name,
            one.address or "",
            styled(one.state),
            *limits,
            Text(str(one.token or "")),
            Text(one.volume),
            *(("account" if one.account else "",) if logins else ()),
        )
    return shown


def rows(people: Iterable[Person]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "name": one.name,
            "address": one.address,
            "state": one.state,
            "cpus": one.cpus or None,
            "memory": one.memory or None,
            "token_file": str(one.token) if one.token else None,
            "notebooks": one.volume,
            "mlflow_account": one.account,
        }
        for one in people
    ]
