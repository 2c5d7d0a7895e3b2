"""Cross-field validation of the queue: where it runs, and whether it can tell users what it is to tell."""

from collections.abc import Iterator

from config.platform import PlatformSettings
from config.problems import Path, Problem, Remedy, Remove, Set
from config.services import SERVICES

ENABLED: Path = ("queue", "enabled")
OFF = Set(ENABLED, False)


def queue_has_a_cluster(settings: PlatformSettings) -> Iterator[Problem]:
    """The queue has a Ray cluster to start jobs on; of a cluster's hosts, it is the one that runs Postgres."""
    if not settings.queue.enabled:
        return
    if settings.membership:
        cluster = settings.membership.cluster
        if cluster.mlflow is None:
            reason = f"the queue keeps its jobs in the Postgres of MLflow, and the cluster {cluster.name} has no MLflow"
            advice = f"Set {settings.membership.names('mlflow.host')}, and run the queue there; here:"
            yield Problem(ENABLED, reason, advice, (OFF,))
        elif not settings.membership.runs("postgres"):
            host = cluster.mlflow.host
            reason = f"the queue keeps its jobs in Postgres, which the cluster {cluster.name} has on {host}"
            yield Problem(ENABLED, reason, f"Enable it in the stack of {host}; all hosts reach it there. Here:", (OFF,))
    elif not settings.ray_nodes and not settings.ray.head_address:
        enable = Set((*SERVICES["ray-cpu"], "enabled"), True)
        reason = "this host runs no Ray node, and ray.head_address names no cluster elsewhere"
        yield Problem(ENABLED, reason, "Enable a node, or disable the queue:", (enable, OFF))


def queue_users_differ(settings: PlatformSettings) -> Iterator[Problem]:
    """Names of users differ by more than their case, as the queue wants it of those who submit."""
    seen: dict[str, str] = {}
    for user in settings.queue.users:
        other = seen.setdefault(user.lower(), user)
        if other != user:
            path: Path = ("queue", "users", user)
            yield Problem(path, f"differs from {other} by case only", "Remove one of them:", (Remove(path),))


def queue_can_tell(settings: PlatformSettings) -> Iterator[Problem]:
    """Each channel of a user says where to, and the service is given the secrets that it needs for that."""
    if not settings.queue.enabled:
        return
    for user, chosen in settings.queue.users.items():
        for index, channel in enumerate(chosen.tell):
            path: Path = ("queue", "users", user, "tell", index)
            if channel.kind == "mail":
                yield from _by_mail(settings, path, channel.address, channel.variable)
            elif channel.address is not None:
                reason = f"is for mail, and this channel is {channel.kind}"
                yield Problem((*path, "address"), reason, "Remove it:", (Remove((*path, "address")),))
            else:
                yield from _given(settings, (*path, "variable"), channel.variable)
    mail = settings.queue.mail
    if mail and mail.user:
        yield from _given(settings, ("queue", "mail", "password"), mail.password)


def _by_mail(settings: PlatformSettings, path: Path, address: str | None, variable: str | None) -> Iterator[Problem]:
    if address is None:
        named = Set((*path, "address"), "anna@example.org")
        yield Problem((*path, "address"), "is missing, but this channel is mail", "Say where to:", (named,))
    if variable is not None:
        reason = "is for webhooks, and this channel is mail"
        yield Problem((*path, "variable"), reason, "Remove it:", (Remove((*path, "variable")),))
    if settings.queue.mail is None:
        remedies: tuple[Remedy, ...] = (
            Set(("queue", "mail"), {"server": "smtp.example.org:587", "sender": "cslr@example.org"}),
            Remove(path),
        )
        yield Problem(path, "is mail, but queue.mail names no server", "Name one, or remove the channel:", remedies)


def _given(settings: PlatformSettings, path: Path, variable: str | None) -> Iterator[Problem]:
    """A variable is named, and is one of those that the service is given."""
    known = settings.queue.env_secrets
    if variable is None:
        reason = "is missing: addresses of webhooks and passwords are secrets, which the service gets as variables"
        yield Problem(path, reason, "Name the variable that holds it:", (Set(path, "QUEUE_SECRET"),))
    elif variable not in known:
        more = Set(("queue", "env_secrets"), [*known, variable])
        yield Problem(path, f"{variable} is not in queue.env_secrets", "The service would not get it. Add it:", (more,))
