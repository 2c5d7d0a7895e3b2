"""A container as it is, so that it can be made again: with the image, settings and labels that it has now.

Both engines find it by its labels and name, and replace it with the next `ws up`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from docker_api.api import DockerApi, Json
from embedded_engine.resources.base import leave_network, remove_container
from ws.errors import WsError

POLL_SECONDS = 0.5
LISTED = ("Aliases", "IPAMConfig", "DriverOpts")  # of a network, what its member asks for


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What `docker inspect` says of one container."""

    found: Json

    @classmethod
    def take(cls, api: DockerApi, name: str) -> "Snapshot | None":
        """Of the container of this name, if there is one."""
        found = api.find(f"/containers/{name}/json")
        return cls(found=found) if found else None

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.found["Name"]).removeprefix("/")

    @property
    def image(self) -> str:
        """The ID of its image."""
        return str(self.found["Image"])

    @property
    def body(self) -> Json:
        """What the Engine is asked to create."""
        config = {key: value for key, value in self.found["Config"].items() if key != "MacAddress"}
        return {**config, "Image": self.image, "HostConfig": self.found["HostConfig"]}

    @property
    def networks(self) -> dict[str, Json]:
        """The networks that it joins apart from that of its mode, and how."""
        mode = self.found["HostConfig"]["NetworkMode"]
        own = self.found["Id"]
        joined = {}
        for name, endpoint in (self.found["NetworkSettings"].get("Networks") or {}).items():
            if name != mode:
                settings = {key: endpoint[key] for key in LISTED if endpoint.get(key)}
                # Docker adds the beginning of the container's ID itself.
                settings["Aliases"] = [one for one in settings.get("Aliases", ()) if not own.startswith(one)]
                joined[name] = settings
        return joined

    def is_there(self, api: DockerApi) -> bool:
        """Whether the container still exists."""
        return api.find(f"/containers/{self.found['Id']}/json") is not None

    def restore(self, api: DockerApi, seconds: float, say: Callable[[str], None]) -> None:
        """Makes it again in place of its successor, and waits until it is healthy. Raises `WsError` if it is not."""
        if not self.is_there(api):
            remove_container(api, self.name)
            api.call("POST", "/containers/create", query={"name": self.name}, body=self.body)
            mode = self.found["HostConfig"]["NetworkMode"]
            for number, (network, settings) in enumerate(self.networks.items()):
                if not number and mode not in (self.found["NetworkSettings"].get("Networks") or {}):
                    leave_network(api, mode, self.name)
                body = {"Container": self.name, "EndpointConfig": settings}
                api.call("POST", f"/networks/{network}/connect", body=body)
        api.call("POST", f"/containers/{self.name}/start")
        self._wait(api, seconds, say)

    def _wait(self, api: DockerApi, seconds: float, say: Callable[[str], None]) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            state = (api.find(f"/containers/{self.name}/json") or {}).get("State", {})
            if state.get("Status") == "running" and (state.get("Health") or {}).get("Status") == "healthy":
                return
            say(f"{self.name}: waiting until it is healthy, {passed:.0f} s")
            time.sleep(POLL_SECONDS)
        raise WsError(f"{self.name} is not healthy after {seconds:.0f} s")
