"""What `docker inspect` shows of objects that were just made: the Engine's answers in tests without one."""

import copy
import json
from typing import Any

from embedded_engine.container_body import body
from embedded_engine.labels import INPUTS_LABEL, URN_LABEL

IMAGE: dict[str, Any] = {
    "Id": "sha256:one",
    "RepoTags": ["cslr/redis:1"],
    "Config": {"Env": ["PATH=/usr/bin"], "Volumes": {"/var/cache": {}}},
}
# Of settings that nobody asked for.
DEFAULTS = {"ShmSize": 64 * 1024**2, "CpuShares": 0, "CpusetCpus": "", "PidsLimit": None, "Privileged": False}


def inspected(inputs: dict[str, Any], *, embedded: bool = True) -> dict[str, Any]:
    """A running container as the Engine reports it, made by the embedded engine or by Pulumi."""
    labels = {one["label"]: one["value"] for one in inputs["labels"]} | {"maintainer": "of the image"}
    if embedded:
        labels |= {URN_LABEL: "urn:x", INPUTS_LABEL: json.dumps(inputs)}
    asked = copy.deepcopy(body(inputs, labels))
    host = asked.pop("HostConfig")
    if host.get("PidMode") == "host":
        host["SecurityOpt"] = [*host["SecurityOpt"], "label=disable"]  # as Docker does
    image = asked.pop("Image")
    networks = {
        one["name"]: {
            "Aliases": [*one["aliases"], "0123456789ab"],
            "IPAMConfig": {"IPv4Address": one["ipv4Address"]} if one.get("ipv4Address") else None,
        }
        for one in inputs.get("networksAdvanced") or ()
    }
    mounts = [
        {
            "Type": one["Type"],
            "Name": one["Source"] if one["Type"] == "volume" else "",
            "Source": f"/var/lib/docker/volumes/{one['Source']}/_data" if one["Type"] == "volume" else one["Source"],
            "Destination": one["Target"],
            "RW": not one["ReadOnly"],
        }
        for one in host["Mounts"]
    ]
    of_image = {"Type": "volume", "Name": "f" * 64, "Source": "/f", "Destination": "/var/cache", "RW": True}
    config = {**asked, "Env": [*asked["Env"], *IMAGE["Config"]["Env"]]}
    return {
        "Id": f"{inputs['name']}-id",
        "Name": f"/{inputs['name']}",
        "Image": image,
        "State": {"Status": "running", "Health": {"Status": "healthy"}},
        "Config": {**config, "Healthcheck": {**config["Healthcheck"], "StartInterval": 0}},
        "HostConfig": {**DEFAULTS, **host},
        "Mounts": [*mounts, of_image],
        "NetworkSettings": {"Networks": networks or {inputs["networkMode"]: {"Aliases": None, "IPAMConfig": None}}},
    }
