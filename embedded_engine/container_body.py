"""The Engine API's form of a container's inputs. Imports no Pulumi, so that `ws ps` can use it."""

import re

from docker_api.api import Json

MEBIBYTE = 1024**2
NANOSECONDS = 10**9
DURATION_UNITS = {"h": 3600, "m": 60, "s": 1}


def seconds(duration: str) -> int:
    """Seconds of a duration in Go's canonical form, such as ``1m30s``."""
    return sum(int(number) * DURATION_UNITS[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))


def body(inputs: Json, labels: dict[str, str]) -> Json:
    """What the Engine is asked to create for these inputs."""
    health = inputs["healthcheck"]
    return {
        "Image": inputs["image"],
        "Hostname": inputs["hostname"],
        "Entrypoint": inputs["entrypoints"],
        "Cmd": inputs["command"],
        "User": inputs["user"],
        "Env": inputs["envs"],
        "Labels": labels,
        "StopSignal": inputs["stopSignal"],
        "StopTimeout": int(inputs["stopTimeout"]),
        "ExposedPorts": {_port(p): {} for p in inputs.get("ports", [])},
        "Healthcheck": {
            "Test": health["tests"],
            "Interval": seconds(health["interval"]) * NANOSECONDS,
            "Timeout": seconds(health["timeout"]) * NANOSECONDS,
            "StartPeriod": seconds(health["startPeriod"]) * NANOSECONDS,
            "Retries": int(health["retries"]),
        },
        "HostConfig": _host_config(inputs),
    }


def _host_config(inputs: Json) -> Json:
    config: Json = {
        "Init": inputs["init"],
        "ReadonlyRootfs": inputs["readOnly"],
        "NetworkMode": inputs["networkMode"],
        "NanoCpus": round(float(inputs["cpus"]) * NANOSECONDS),
        "Memory": int(inputs["memory"]) * MEBIBYTE,
        "MemorySwap": int(inputs["memorySwap"]) * MEBIBYTE,
        "Tmpfs": inputs["tmpfs"],
        "CapDrop": inputs["capabilities"]["drops"],
        "CapAdd": inputs["capabilities"].get("adds"),
        "SecurityOpt": inputs["securityOpts"],
        "RestartPolicy": {"Name": inputs["restart"], "MaximumRetryCount": 0},
        "LogConfig": {"Type": inputs["logDriver"], "Config": inputs["logOpts"]},
        "PortBindings": {
            _port(p): [{"HostIp": p["ip"], "HostPort": str(int(p["external"]))}] for p in inputs.get("ports", [])
        }
        or None,
        "Mounts": [
            {"Type": m["type"], "Source": m["source"], "Target": m["target"], "ReadOnly": m["readOnly"]}
            for m in inputs.get("mounts", [])
        ],
    }
    if "hosts" in inputs:
        config["ExtraHosts"] = [f"{entry['host']}:{entry['ip']}" for entry in inputs["hosts"]]
    if "pidMode" in inputs:
        config["PidMode"] = inputs["pidMode"]
    if "shmSize" in inputs:
        config["ShmSize"] = int(inputs["shmSize"]) * MEBIBYTE
    if "deviceRequests" in inputs:
        config["DeviceRequests"] = [
            {
                "Driver": r["driver"],
                "Count": int(r["count"]),
                "DeviceIDs": r["deviceIds"],
                "Capabilities": [r["capabilities"]],
            }
            for r in inputs["deviceRequests"]
        ]
    return config


def _port(port: Json) -> str:
    return f"{int(port['internal'])}/{port['protocol']}"
