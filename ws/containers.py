"""A stack's containers in Docker."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.text import Text

from config.notation import EVERYWHERE
from docker_api.api import DockerApi
from embedded_engine.comparison import drifted_fields
from stack.identity import COMPOSE_LABEL, EMBEDDED_LABEL, VOLUME_OWNER, StackIdentity
from ws.engine_names import EngineName

HEALTH_STYLES = {"healthy": "green", "unhealthy": "bold red", "starting": "yellow"}


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """One container of a stack."""

    service: str
    name: str
    identifier: str
    state: str  # running, exited, …
    health: str  # healthy, unhealthy, starting; the state if it has no health check
    status: str  # as Docker words it, to be shown: "Up 2 hours (healthy)"
    image: str
    ports: tuple[str, ...]  # published ones: 127.0.0.1:5000 → 5000
    engine: EngineName  # the engine that made it
    compose: bool = False  # whether Docker Compose did, from the file that `ws generate` writes
    image_id: str = ""
    inspected: dict[str, Any] = field(default_factory=dict, repr=False)  # all that Docker says of it

    @cached_property
    def drift(self) -> tuple[str, ...]:
        """The fields in which it is not as the embedded engine made it; compared where somebody asks."""
        return drifted_fields(self.inspected) if self.inspected else ()

    def url(self, port: int) -> str | None:
        """Where this host reaches its web server: its only published port, else its own; None where it does not run."""
        if self.ports:
            address, _, published = self.ports[0].partition(" ")[0].rpartition(":")
            return f"http://{'127.0.0.1' if address in (*EVERYWHERE, '*') else address}:{published}"
        return f"http://{self.address}:{port}" if self.address else None

    @property
    def address(self) -> str:
        """On the stack's network, which this host reaches even if nginx publishes the port in its place."""
        networks = (self.inspected.get("NetworkSettings") or {}).get("Networks") or {}
        return next((str(one["IPAddress"]) for one in networks.values() if one.get("IPAddress")), "")

    @classmethod
    def of(cls, found: dict[str, Any], inspected: dict[str, Any]) -> "ContainerState":
        """From an entry of the Engine's listing, which gives health only as text, and from the inspection."""
        state = inspected["State"]
        health = (state.get("Health") or {}).get("Status", "none")
        published = {
            f"{port.get('IP') or '*'}:{port['PublicPort']} → {port['PrivatePort']}"
            for port in found.get("Ports") or ()
            if "PublicPort" in port
        }
        return cls(
            service=found["Labels"].get("cslr.component", ""),
            name=found["Names"][0].lstrip("/"),
            identifier=found["Id"],
            state=state["Status"],
            health=health if health != "none" and state["Status"] == "running" else state["Status"],
            status=found["Status"],
            image=found["Image"],
            ports=tuple(sorted(published)),
            # Compose keeps no state either: what finds things by their labels can end what it made.
            engine=EngineName.EMBEDDED
            if {EMBEDDED_LABEL, COMPOSE_LABEL} & found["Labels"].keys()
            else EngineName.PULUMI,
            compose=COMPOSE_LABEL in found["Labels"],
            image_id=inspected["Image"],
            inspected=inspected,
        )


def containers(identity: StackIdentity) -> list[ContainerState]:
    """The containers of a stack, running or not, by service."""
    api = DockerApi()
    every = api.labelled("/containers/json", "", identity.label_filters)
    listed = [one for one in every if one["Labels"].get("cslr.component") != VOLUME_OWNER]  # it has ended
    inspected = ((entry, api.find(f"/containers/{entry['Id']}/json")) for entry in listed)
    found = (ContainerState.of(entry, state) for entry, state in inspected if state)  # it may be gone since
    return sorted(found, key=lambda container: container.service)


def styled(health: str) -> Text:
    """A health in its colour."""
    return Text(health, style=HEALTH_STYLES.get(health, "red"))


def short(image: str) -> str:
    """An image's name, or the beginning of its ID."""
    return image.removeprefix("sha256:")[:12] if image.startswith("sha256:") else image


def made_by(found: Iterable[ContainerState]) -> EngineName | None:
    """The engine that made a stack's containers; None without any. One container of Pulumi's decides for Pulumi."""
    engines = {one.engine for one in found if one.service != "verification"}
    return next((engine for engine in EngineName if engine in engines), None)
