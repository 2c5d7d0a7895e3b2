"""``docker:index/network:Network``."""

from docker_api.api import Json
from embedded_engine.labels import URN_LABEL, owner, recorded_inputs
from embedded_engine.registration import Registration
from embedded_engine.resources.base import (
    Actual,
    DockerObjects,
    Progress,
    engine_labels,
    refuse_foreign,
    remove_container,
)


class Network(DockerObjects):
    """A bridge network. Docker forbids changing one, and removing one in use."""

    replaces = True
    replaces_dependents = "its network is replaced"
    replaced_with_dependencies = False
    inputs = frozenset({"name", "driver", "ipamConfigs", "labels"})

    def read(self, wanted: Registration) -> Actual | None:
        """Found by name; else under another name that it was given before."""
        name = wanted.inputs["name"]
        found = self.api.find(f"/networks/{name}")
        if found is None or found["Name"] != name:
            return next(map(_actual, self.api.labelled("/networks", "", [f"{URN_LABEL}={wanted.urn}"])), None)
        refuse_foreign("network", name, found, wanted, found["Labels"])
        return _actual(found)

    def create(self, wanted: Registration, _: Actual | None, progress: Progress) -> Actual:
        """As the provider does."""
        progress("creating")
        inputs = wanted.inputs
        pools = [
            {"Subnet": c["subnet"], "IPRange": c["ipRange"], "Gateway": c["gateway"]} for c in inputs["ipamConfigs"]
        ]
        self.api.call(
            "POST",
            "/networks/create",
            body={
                "Name": inputs["name"],
                "CheckDuplicate": True,
                "Driver": inputs["driver"],
                "IPAM": {"Driver": "default", "Config": pools},
                "Labels": engine_labels(wanted),
            },
        )
        found = self.api.find(f"/networks/{inputs['name']}")
        if found is None:
            raise RuntimeError(f"network {inputs['name']} vanished while it was made")
        return _actual(found)

    def delete(self, actual: Actual, progress: Progress) -> None:
        """Removes it with this stack's containers, which are recreated on the new one. Others are an error."""
        found = self.api.find(f"/networks/{actual.identifier}") or {}
        for identifier in found.get("Containers") or {}:
            container = self.api.find(f"/containers/{identifier}/json")
            if container and owner(container["Config"]["Labels"]) == owner(found["Labels"]):
                progress(f"removing {container['Name'].removeprefix('/')}")
                remove_container(self.api, identifier)
        self.api.call("DELETE", f"/networks/{actual.identifier}")


def _actual(found: Json) -> Actual:
    return Actual(identifier=found["Id"], outputs={"name": found["Name"]}, inputs=recorded_inputs(found["Labels"]))
