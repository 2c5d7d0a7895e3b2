"""`ws alert`: the alerts that fire, and silences."""

import getpass
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws.drain_option import parse_duration
from ws.errors import WsError
from ws.terminal import HELP, AsJson, Stack, out

if TYPE_CHECKING:
    from ws.alerts.client import Alertmanager
    from ws.containers import ContainerState

alert = typer.Typer(help="Alerts of the stack's metrics.", no_args_is_help=True, context_settings=HELP)


@alert.command("list")
def list_alerts(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """List the alerts that fire, with their remedies, and the silences."""
    from ws.alerts import view
    from ws.alerts.client import outdated

    found = _containers(stack)
    manager = _manager(stack, found)
    alerts, silences, now = manager.alerts(), manager.silences(), view.utc_now()
    doubt = outdated(found, alerts)
    if as_json:
        print(json.dumps(view.as_json(alerts, silences, doubt), indent=2))
        return
    out.print(view.alerts_table(alerts, now) if alerts else Text("No alert fires.", style="" if doubt else "green"))
    if doubt:
        out.print(Text(f"{doubt}. See: ws ps -s {stack}", style="yellow"), soft_wrap=True)
    if silences:
        out.print()
        out.print(view.silences_table(silences, now))


@alert.command("silence")
def silence(
    of: Annotated[
        list[str],
        typer.Argument(metavar="NAME|LABEL=VALUE…", help="Name of an alert, and labels that it must have besides."),
    ],
    duration: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.", metavar="TIME")] = "2h",
    comment: Annotated[str, typer.Option("--comment", "-c", help="Why, for others.")] = "by ws alert silence",
    stack: Stack = "dev",
) -> None:
    """Send no messages about matching alerts: ws alert silence DiskLow host=gpu1 --for 2h --comment "cleaning up"."""
    from ws.alerts import view

    labels = matched(of)
    start = view.utc_now()
    try:
        end = start + timedelta(seconds=parse_duration(duration))
    except OverflowError:
        raise typer.BadParameter(f"{duration} ends after the year 9999", param_hint="--for") from None
    manager = _manager(stack, _containers(stack))
    identifier = manager.silence(
        labels, start=_written(start), end=_written(end), author=getpass.getuser(), comment=comment
    )
    again = f"ws alert unsilence {identifier[: view.SHORT]} -s {stack}"
    out.print(Text(f"Silenced for {duration}. To end that: {again}"), soft_wrap=True)
    if hint := _hint(labels, manager):
        out.print(Text(hint, style="yellow"), soft_wrap=True)


@alert.command("unsilence")
def unsilence(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As `ws alert list` shows it.")], stack: Stack = "dev"
) -> None:
    """End a silence."""
    manager = _manager(stack, _containers(stack))
    found = [one for one in manager.silences() if identifier and one.identifier.startswith(identifier)]
    if len(found) != 1:
        known = ", ".join(one.identifier for one in found or manager.silences()) or "none"
        problem = "matches several silences" if found else "matches no silence in force"
        raise WsError(f"{identifier!r} {problem}. There are: {known}.")
    manager.unsilence(found[0].identifier)
    out.print(Text(f"No longer silenced: {', '.join(found[0].matchers)}"), soft_wrap=True)


def matched(words: list[str]) -> dict[str, str]:
    """The labels that words of the command name. A word without ``=`` is the name of an alert."""
    from contracts.alerts import NAME

    labels: dict[str, str] = {}
    for word in words:
        label, equals, value = word.partition("=")
        name, wanted = (label, value) if equals else (NAME, word)
        if not name or not wanted:
            raise typer.BadParameter(f"{word!r} is neither the name of an alert nor LABEL=VALUE")
        if name in labels:
            raise typer.BadParameter(f"{word!r} names {name} a second time; make a silence for each")
        labels[name] = wanted
    return labels


def _hint(labels: Mapping[str, str], manager: "Alertmanager") -> str:
    """What to say of a silence that covers no alert that fires now, which may be meant or not; else empty."""
    from config.problems import did_you_mean
    from contracts.alerts import NAME
    from ws.alerts.rules import names

    if any(labels.items() <= alert.labels.items() for alert in manager.alerts()):
        return ""
    if (name := labels.get(NAME)) and name not in names():
        return f"There is no alert {name}. {did_you_mean(name, names())}"
    return "No alert that fires now has these labels; those that come will be silenced. What fires: ws alert list"


def _containers(stack: str) -> "list[ContainerState]":
    from ws.containers import containers
    from ws.stack_settings import open_stack

    return containers(open_stack(stack).identity)


def _manager(stack: str, found: "list[ContainerState]") -> "Alertmanager":
    from ws.alerts.client import Alertmanager, address_of, stopped

    if problem := stopped(found):
        raise WsError(f"stack {stack}: {problem}. Start what is stopped: ws up -s {stack}")
    address = address_of(found)
    if address is None:
        raise WsError(
            f"stack {stack} has no Alertmanager on this host. Enable it: ws set metrics.enabled true -s {stack}, then "
            f"ws up -s {stack}. In a cluster, ask on the host that runs it."
        )
    return Alertmanager(address)


def _written(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
