"""`ws redis status`: the primary and its replica on another host."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from coordination.redis_client import Address
from coordination.redis_pair import ServerStatus, read_status
from ws.cluster.access import Access
from ws.tables import plain_table


@dataclass(frozen=True, kw_only=True)
class ServerRow:
    """One server, as `ws redis status` shows it."""

    host: str
    address: str
    role: str  # primary, replica, waits for its role, does not answer
    generation: int | None
    behind: int | None  # bytes of the replication stream
    note: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """All servers, and problems of the pair as a whole."""

    servers: tuple[ServerRow, ...]
    problem: str


def status(access: Access) -> Status:
    """Asks each server about itself."""
    asked = {address: ask(access, address) for address in access.servers}
    known = [server for server in asked.values() if isinstance(server, ServerStatus)]
    primary = max((one for one in known if one.leads), key=lambda one: one.generation, default=None)
    rows = [_row(access, address, answer, primary) for address, answer in asked.items()]
    return Status(servers=tuple(rows), problem=_problem(access, known, primary))


def ask(access: Access, address: Address) -> ServerStatus | str:
    """A server's status, or why it has none. Raises `NodeError` if the password is wrong."""
    link = access.server(address)
    try:
        return read_status(link)
    except OSError as error:
        return str(error)
    finally:
        link.close()


def host_of(access: Access, address: Address) -> str:
    """The host of a server."""
    if access.membership is None:
        return "this host"
    return next(name for name, host in access.membership.cluster.hosts.items() if host.address == address.host)


def _row(access: Access, address: Address, answer: ServerStatus | str, primary: ServerStatus | None) -> ServerRow:
    if isinstance(answer, str):
        return ServerRow(
            host=host_of(access, address), address=str(address), role="does not answer", generation=None, behind=None,
            note=answer,
        )  # fmt: skip
    role, note, behind = "primary", "", None
    if not answer.leads:
        follows = primary is not None and answer.follows == primary.address
        role = "replica" if follows else "waits for its role"
        note = "" if answer.in_step or not follows else "not connected to the primary"
        behind = primary.offset - answer.offset if primary and follows and answer.in_step else None
    elif primary and answer.address != primary.address:
        role, note = "former primary", "a guard makes it a replica within seconds"
    return ServerRow(
        host=host_of(access, address),
        address=str(address),
        role=role,
        generation=answer.generation,
        behind=behind and max(behind, 0),
        note=note,
    )


def _problem(access: Access, known: list[ServerStatus], primary: ServerStatus | None) -> str:
    if primary is None:
        if not known:
            return f"Redis does not answer. Start it on {host_of(access, access.servers[0])}: ws up --stack STACK"
        return (
            "There is no primary, so the cluster is down. A returning primary leads again by itself; if it is lost, "
            "run on the host of the replica: ws redis failover"
        )
    if len(access.servers) > 1 and not any(one.in_step and one.follows == primary.address for one in known):
        return "The primary has no replica in step: if its host is lost now, the latest writes are lost too."
    return ""


def as_json(found: Status) -> dict[str, Any]:
    """`ws redis status --json`."""
    return asdict(found)


def show(found: Status, console: Console) -> None:
    """`ws redis status`."""
    shown = plain_table(("Host", "Address", "Role", "Generation", "Behind", "Note"))
    for one in found.servers:
        generation = "" if one.generation is None else str(one.generation)
        behind = "" if one.behind is None else f"{one.behind} bytes"
        shown.add_row(one.host, one.address, one.role, generation, behind, one.note)
    console.print(shown)
    if found.problem:
        console.print(Text(found.problem, style="yellow"), soft_wrap=True)
