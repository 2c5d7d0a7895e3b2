"""``docker:index/volume:Volume``."""

from embedded_engine.registration import Registration
from embedded_engine.resources.base import Actual, DockerObjects, Progress, program_labels, refuse_foreign


class Volume(DockerObjects):
    """A named volume. It holds data, so an existing one is never recreated, whatever its labels say."""

    replaces = True
    replaces_dependents = ""
    replaced_with_dependencies = False
    inputs = frozenset({"name", "driver", "labels"})

    def read(self, wanted: Registration) -> Actual | None:
        """Found by name. A volume that a user created without our labels is used unchanged."""
        name = wanted.inputs["name"]
        found = self.api.find(f"/volumes/{name}")
        if found is None:
            return None
        if (found["Labels"] or {}).get("cslr.project"):
            refuse_foreign("volume", name, found, wanted, found["Labels"])
        return Actual(identifier=name, outputs={"name": name}, inputs=wanted.recorded)

    def create(self, wanted: Registration, _: Actual | None, progress: Progress) -> Actual:
        """Empty; Docker fills it from the image at the first start."""
        progress("creating")
        name = wanted.inputs["name"]
        # No label of this engine's own: it outlives a change to the other engine, which compares labels.
        body = {"Name": name, "Driver": wanted.inputs["driver"], "Labels": program_labels(wanted)}
        self.api.call("POST", "/volumes/create", body=body)
        return Actual(identifier=name, outputs={"name": name}, inputs=wanted.recorded)
