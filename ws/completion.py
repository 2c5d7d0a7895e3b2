"""Shell completion: looks up names when they are needed."""

import typer

from config.project import FOLDER


def stacks(incomplete: str) -> list[str]:
    """The names of all stacks with a stack file."""
    names = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in FOLDER.glob("Pulumi.*.yaml"))
    return sorted(name for name in names if name.startswith(incomplete))


def services(context: typer.Context, incomplete: str) -> list[str]:
    """The services of a host, and those of the people of a stack."""
    from config.problems import ConfigError, SettingsError
    from config.services import SERVICES
    from ws.stack_settings import open_stack

    try:
        notebooks = open_stack(context.params.get("stack") or "dev").platform.notebooks
    except (ConfigError, SettingsError):
        notebooks = ()
    return [name for name in dict.fromkeys((*SERVICES, *notebooks)) if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """The keys of a stack file."""
    from config.explain import keys as below
    from config.platform import PlatformSettings
    from config.problems import dotted
    from ws.config.keys import OWN_KEYS

    found = [*OWN_KEYS, *map(dotted, below(PlatformSettings))]
    return sorted(key for key in found if key.startswith(incomplete))


def history(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The numbers of a stack's history, with what they are."""
    from config.project import NAME
    from stack.history import History
    from stack.identity import StackIdentity

    identity = StackIdentity(project=NAME, stack=context.params.get("stack") or "dev")
    found = [(str(one.number), f"{one.operation}, {one.outcome}") for one in History(identity).records()]
    return [(number, text) for number, text in found if number.startswith(incomplete)]


def datasets(context: typer.Context, incomplete: str) -> list[str]:
    """The datasets that a stack knows."""
    from config.problems import ConfigError, SettingsError
    from ws.data.datasets import open_datasets

    try:
        found = open_datasets(context.params.get("stack") or "dev").found
    except (ConfigError, SettingsError):
        return []
    return [name for name in found if name.startswith(incomplete)]


def priorities(incomplete: str) -> list[str]:
    """The priorities of jobs."""
    from scheduling.model import DEFAULT_PRIORITIES

    return [name for name in DEFAULT_PRIORITIES if name.startswith(incomplete)]


def jobs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest jobs of a stack's queue, with what they are."""
    from dataclasses import replace

    from config.problems import ConfigError, SettingsError
    from ws.errors import WsError
    from ws.queue.access import queue_of

    try:
        found = replace(queue_of(context.params.get("stack") or "dev"), pauses=()).jobs(limit=50)
    except (ConfigError, SettingsError, WsError, OSError):
        return []
    return [
        (one.id, f"{one.user}, {one.state}, {one.submission.title}") for one in found if one.id.startswith(incomplete)
    ]
