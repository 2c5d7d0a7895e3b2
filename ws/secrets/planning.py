"""Which secrets a rotation takes, what it may not do, and whether nothing but secrets waits to be deployed. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from config.cluster import Membership
from config.problems import closest
from config.project import NAME
from embedded_engine.changes import COMMAND, CONTAINER, Action, Change
from stack.cluster_key import copy_command, key_file
from stack.running_work import Deployed
from stack.secrets import SECRETS_TARGET
from ws.cost import Stop
from ws.errors import WsError
from ws.secrets.catalogue import CLUSTER_KEY, Secret
from ws.secrets.listing import Listed, Origin

# Service → what ends with its container beside the work that is listed.
ENDS_WITH = {
    "devel": "everybody who is logged in to the devel container is logged out",
    "transcription": "requests to the transcription service that are under way fail",
    "mlflow": "requests to MLflow fail for some seconds; its clients try again for about 2 minutes",
    "queue": "the queue's commands fail for some seconds; its jobs go on",
}


def chosen(known: Sequence[Secret], names: Collection[str], stack: str, *, everything: bool) -> list[Secret]:
    """The secrets that were named, as listed or by their keys. Raises `WsError`."""
    if everything == bool(names):
        what = "Name secrets or give --all, not both" if everything else "No secret is named: name some, or give --all"
        raise WsError(f"{what}. They are listed by: ws secrets list -s {stack}")
    if everything:
        return [one for one in known if one.generated and one.name != CLUSTER_KEY]
    called = {word: one for one in known for word in (one.name, one.key, one.key.removeprefix(f"{NAME}:")) if word}
    for name in names:
        if name not in called:
            guess = closest(name, [one.name for one in known])
            raise WsError(
                f"stack {stack} has no secret {name[:60]!r}.{f' Did you mean {guess}?' if guess else ''} "
                f"They are listed by: ws secrets list -s {stack}"
            )
    return list({called[name].name: called[name] for name in names}.values())


def refuse_alone(chosen: Iterable[Secret], membership: Membership | None, stack: str, project: str) -> None:
    """Passes unless this host would leave its cluster by having another value. Raises `WsError`."""
    if membership is None or not (shared := [one.name for one in chosen if one.shared]):
        return
    file = key_file(project, membership.cluster.name)
    others = ", ".join(name for name in membership.cluster.hosts if name != membership.host)
    raise WsError(
        f"Nothing was changed: all hosts of the cluster {membership.cluster.name} must have the same "
        f"{', '.join(shared)}, and {others} would keep the former one. It is made from the cluster key.\n"
        f"  To change it, give all hosts another key; this ends what runs in the cluster:\n"
        f"    on {membership.redis_host}:  mv {file} {file}.old && ws cluster key\n"
        f"    on each other host:  {copy_command(membership, file)}\n"
        f"    on {membership.redis_host}, then on all others:  ws up --yes\n"
        "  Until all hosts are done, those with the former key are not in the cluster. Where the stack files set a "
        "value: `ws set` the same new one on each host, then ws up on each.\n"
        f"  Other secrets of this host: ws secrets rotate NAME -s {stack}"
    )


def refuse_pending(
    planned: Iterable[Change], services: Sequence[Deployed], last: Collection[str], stack: str
) -> list[str]:
    """The containers that wait for `ws up` only because of secrets, as an interrupted rotation leaves them.

    `last`: the services that the last deployment left running. Raises `WsError` where something else waits: it would be
    deployed with the secrets.
    """
    waiting = [change for change in planned if change.action is not Action.SAME and change.type != COMMAND]
    other = [change.name for change in waiting if not _is_left(change, services, last)]
    if other:
        raise WsError(
            f"Nothing was changed: the stack is not as its stack file says, and these would be changed as well: "
            f"{', '.join(other)}.\n"
            f"  What waits, and why:  ws preview -s {stack}\n"
            f"  Deploy it first:      ws up -s {stack}"
        )
    return [change.name for change in waiting]


def _is_left(change: Change, services: Sequence[Deployed], last: Collection[str]) -> bool:
    """Whether an interrupted rotation may have left it so."""
    if change.type != CONTAINER:
        return False
    service = change.name.removesuffix("-container")
    if change.action is Action.REPLACE:
        deployed = next((one for one in services if one.service == service), None)
        return deployed is not None and _differs_in_secrets(change, deployed)
    return change.action is Action.REPAIR or (change.action is Action.CREATE and service in last)


def _differs_in_secrets(change: Change, deployed: Deployed) -> bool:
    """Whether a container is replaced because of files in /run/secrets alone."""
    if not all(reason.startswith("mounts") for reason in change.reasons):
        return False
    wanted = {mount["target"]: mount.get("source", "") for mount in change.after.get("mounts") or ()}
    return _without_secrets(wanted) == _without_secrets(deployed.mounts)


def _without_secrets(mounts: Mapping[str, str]) -> dict[str, str]:
    return {target: source for target, source in mounts.items() if not target.startswith(f"{SECRETS_TARGET}/")}


def stops_of(found: Iterable[Listed]) -> list[Stop]:
    """The services that are replaced, and why."""
    because: dict[str, list[str]] = {}
    for one in found:
        for service in one.services:
            because.setdefault(service, []).append(one.secret.name)
    return [
        Stop(service=service, because=f"{service} is replaced ({', '.join(why)})") for service, why in because.items()
    ]


def lines(found: Sequence[Listed], *, given: bool) -> Iterator[str]:
    """What a rotation does and what to do afterwards, for people."""
    for one in found:
        where = "the stack file" if _is_in_stack_file(one) else one.file
        users = f"replaces {', '.join(one.services)}" if one.services else "no service here uses it"
        yield f"{one.secret.name}: {'the given' if given else 'a new'} value in {where}; {users}"
        if one.secret.elsewhere and one.services:
            yield f"    {one.secret.elsewhere}"
    replaced = {service for one in found for service in one.services}
    yield from (f"{service}: {what}" for service, what in ENDS_WITH.items() if service in replaced)


def _is_in_stack_file(one: Listed) -> bool:
    return one.file is None or one.origin is Origin.CLUSTER
