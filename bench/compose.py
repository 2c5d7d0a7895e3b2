"""Makes a Compose file from the resources that the program registers: the same containers for `docker compose`.

Leaves out what Compose cannot do: the verification. Images are named by their IDs, so they must have been built.
"""

from threading import Lock
from typing import Any

from config.stack_file import StackConfig
from docker_api.api import DockerApi, Json
from embedded_engine.changes import CONTAINER
from embedded_engine.program import Monitor, Outcome, run_program
from embedded_engine.registration import Registration
from embedded_engine.run import NETWORK, VOLUME
from testing.harness import PROJECT

IMAGE = "docker:index/image:Image"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"
COMMAND = "command:local:Command"


def compose_file(config: StackConfig) -> Json:
    """The content of a Compose file with a stack's network, volumes and containers.

    Writes the files that containers mount into the state folder, as a deployment does.
    Raises `LookupError` where an image is not on this Docker host.
    """
    registrations = _registrations(config)
    containers = {r.urn: r for r in registrations if r.type == CONTAINER}
    (network,) = (r.inputs for r in registrations if r.type == NETWORK)
    volumes = [r.inputs for r in registrations if r.type == VOLUME]
    file: Json = {
        "name": f"{config.project}-{config.stack}",
        "services": {
            r.inputs["hostname"]: {
                **_service(r.inputs),
                "depends_on": {
                    containers[urn].inputs["hostname"]: {"condition": "service_healthy"}
                    for urn in r.dependencies
                    if urn in containers
                },
            }
            for r in containers.values()
        },
        "networks": {"default": _network(network)},
        "volumes": {v["name"]: {"name": v["name"], "labels": _labels(v)} for v in volumes},
    }
    return dict(_escaped(file))


def _registrations(config: StackConfig) -> list[Registration]:
    api, lock, found = DockerApi(), Lock(), list[Registration]()

    def answer(wanted: Registration) -> Outcome:
        with lock:
            found.append(wanted)
        inputs = wanted.inputs
        outputs = {"name": inputs["name"]} if "name" in inputs else {}
        if wanted.type in (IMAGE, REMOTE_IMAGE):
            identifier = _image_id(api, inputs.get("imageName") or inputs["name"])
            outputs |= {"repoDigest": identifier, "imageId": identifier}
        if wanted.type == COMMAND:
            outputs["stdout"] = "{}"
        return wanted.name, outputs

    run_program(PROJECT, config, Monitor(answer), preview=False)
    return found


def _image_id(api: DockerApi, name: str) -> str:
    image = api.find(f"/images/{name}/json")
    if image is None:
        raise LookupError(f"{name} is not on this Docker host: `make up` builds or pulls it")
    return str(image["Id"])


def _service(inputs: Json) -> Json:
    health = inputs["healthcheck"]
    service = {
        "container_name": inputs["name"],
        "hostname": inputs["hostname"],
        "image": inputs["image"],
        "entrypoint": inputs["entrypoints"],
        "command": inputs["command"],
        "user": inputs["user"],
        "environment": inputs["envs"],
        "labels": _labels(inputs),
        "ports": [
            f"{p['ip']}:{p['external']:.0f}:{p['internal']:.0f}/{p['protocol']}" for p in inputs.get("ports", [])
        ],
        "volumes": [
            {"type": m["type"], "source": m["source"], "target": m["target"], "read_only": m["readOnly"]}
            for m in inputs.get("mounts", [])
        ],
        "networks": {"default": _attachment(inputs["networksAdvanced"][0])},
        "cpus": float(inputs["cpus"]),
        "mem_limit": f"{inputs['memory']:.0f}m",
        "memswap_limit": f"{inputs['memorySwap']:.0f}m",
        "read_only": inputs["readOnly"],
        "tmpfs": [f"{path}:{options}" for path, options in inputs["tmpfs"].items()],
        "cap_drop": inputs["capabilities"]["drops"],
        "security_opt": inputs["securityOpts"],
        "init": inputs["init"],
        "restart": inputs["restart"],
        "stop_signal": inputs["stopSignal"],
        "stop_grace_period": f"{inputs['stopTimeout']:.0f}s",
        "logging": {"driver": inputs["logDriver"], "options": inputs["logOpts"]},
        "healthcheck": {
            "test": health["tests"],
            "interval": health["interval"],
            "timeout": health["timeout"],
            "start_period": health["startPeriod"],
            "retries": int(health["retries"]),
        },
    }
    return service | ({"shm_size": f"{inputs['shmSize']:.0f}m"} if "shmSize" in inputs else {})


def _attachment(network: Json) -> Json:
    address = {"ipv4_address": network["ipv4Address"]} if network.get("ipv4Address") else {}
    return {"aliases": network["aliases"], **address}


def _network(inputs: Json) -> Json:
    pools = [{"subnet": c["subnet"], "ip_range": c["ipRange"], "gateway": c["gateway"]} for c in inputs["ipamConfigs"]]
    return {
        "name": inputs["name"],
        "driver": inputs["driver"],
        "ipam": {"config": pools},
        "labels": _labels(inputs),
    }


def _labels(inputs: Json) -> Json:
    return {item["label"]: item["value"] for item in inputs["labels"]}


def _escaped(value: Any) -> Any:  # noqa: ANN401
    """Escapes dollar signs, which Compose would expand."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
