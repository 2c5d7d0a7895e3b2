"""What breaks each rule: what a container says instead of what a good one says."""

import re
from typing import Any

from policy.declared import Surroundings
from stack.pulumi_internals import Unknown
from testing.harness import platform_settings

PASSWORD = "redis-Password-7f3a"
UNKNOWN = Unknown()  # type: ignore[no-untyped-call]
DIGEST = "sha256:" + "0" * 64


def mount(source: str, target: str, *, read_only: bool = True, kind: str = "bind") -> dict[str, Any]:
    return {"mounts": [{"type": kind, "source": source, "target": target, "readOnly": read_only}]}


def tmpfs(options: str) -> dict[str, Any]:
    return {"tmpfs": {"/cache": options}}


def port(ip: str | None) -> dict[str, Any]:
    return {"ports": [{"internal": 6379.0, "external": 6381.0, **({"ip": ip} if ip is not None else {})}]}


# Rule, what a container says instead (None: nothing), what is found.
BROKEN: list[tuple[str, dict[str, Any], list[str]]] = [
    ("user-not-root", {"user": "0:0"}, ["user 0:0"]),
    ("user-not-root", {"user": "00"}, ["user 00"]),
    ("user-not-root", {"user": "root"}, ["user root"]),
    ("user-not-root", {"user": "redis"}, ["user redis"]),
    ("user-not-root", {"user": None}, ["user None"]),
    ("no-capabilities", {"capabilities": None}, ["Docker's default capabilities"]),
    ("no-capabilities", {"capabilities": {"drops": ["CAP_CHOWN"]}}, ["Docker's default capabilities"]),
    ("no-capabilities", {"capabilities": {"drops": ["ALL"], "adds": ["CAP_NET_ADMIN"]}}, ["CAP_NET_ADMIN"]),
    ("no-new-privileges", {"securityOpts": None}, ["no no-new-privileges:true"]),
    ("no-new-privileges", {"securityOpts": ["no-new-privileges:false"]},
     ["no no-new-privileges:true", "no-new-privileges:false"]),
    ("no-new-privileges", {"securityOpts": ["no-new-privileges:true", "seccomp=unconfined"]}, ["seccomp=unconfined"]),
    ("unprivileged", {"privileged": True}, ["privileged"]),
    ("unprivileged", {"devices": [{"hostPath": "/dev/sda"}]}, ["devices"]),
    ("unprivileged", {"groupAdds": ["docker"]}, ["groupAdds"]),
    ("unprivileged", {"usernsMode": "host"}, ["usernsMode"]),
    ("unprivileged", {"cgroupParent": "/"}, ["cgroupParent"]),
    ("own-namespaces", {"networkMode": "host"}, ["networkMode host"]),
    ("own-namespaces", {"networkMode": "container:keeper"}, ["networkMode container:keeper"]),
    ("own-namespaces", {"networkMode": None}, ["networkMode None"]),
    ("own-namespaces", {"pidMode": "host"}, ["pidMode host"]),
    ("own-namespaces", {"ipcMode": "host"}, ["ipcMode host"]),
    ("own-namespaces", {"ipcMode": "shareable"}, ["ipcMode shareable"]),
    ("own-namespaces", {"cgroupnsMode": "host"}, ["cgroupnsMode host"]),
    ("own-namespaces", {"networksAdvanced": None}, ["Docker's default bridge"]),
    ("private-mounts", {"mounts": [{"type": "bind", "source": "/mnt", "target": "/x", "readOnly": True,
                                    "bindOptions": {"propagation": "rshared"}}]}, ["/x is rshared"]),
    ("gpus-where-used", {"deviceRequests": [{"count": -1, "capabilities": ["gpu"]}]}, ["GPUs"]),
    ("gpus-where-used", {"deviceRequests": [{"capabilities": ["disk"]}]}, ["devices other than GPUs"]),
    ("gpus-where-used", {"gpus": "all"}, ["GPUs"]),
    ("read-only-root", {"readOnly": False}, ["writable root"]),
    ("read-only-root", {"readOnly": None}, ["writable root"]),
    ("tmpfs-options", tmpfs("rw,noexec,nosuid,nodev"), ["/cache without size"]),
    ("tmpfs-options", tmpfs("rw,noexec,nosuid,nodev,size=0"), ["/cache without size"]),
    ("tmpfs-options", tmpfs("rw,exec,nodev,size=1m"), ["/cache without nosuid", "/cache without noexec"]),
    ("tmpfs-options", tmpfs("rw,noexec,nosuid,size=1m"), ["/cache without nodev"]),
    ("tmpfs-options", {"tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=1m"}}, ["/tmp without noexec"]),
    ("no-docker-socket", mount("/var/run/docker.sock", "/x"), ["Docker socket at /x"]),
    ("no-docker-socket", mount("/srv/engine.sock", "/x"), ["Docker socket at /x"]),  # wherever it is here
    ("no-docker-socket", mount("/srv/other.sock", "/run/docker.sock"), ["Docker socket at /run/docker.sock"]),
    ("no-docker-socket", mount("/srv/x/../../run/docker.sock", "/x"), ["Docker socket at /x"]),
    ("no-docker-socket", mount("/", "/host"), ["Docker socket at /host"]),
    ("no-host-folders", mount("/etc", "/x", read_only=False),
     ["/etc is this host's own configuration"]),
    ("no-host-folders", mount("/proc/1/root", "/x"),
     ["/proc/1/root is in /proc, which holds this host's processes, and through them all of its files (read-only)"]),
    ("no-host-folders", mount("/boot", "/x"), ["/boot is what this host starts from (read-only)"]),
    ("own-files-read-only", mount("/state/dev/programs/0/x.py", "/x", read_only=False), ["/x is writable"]),
    ("own-files-read-only", mount("data", "/run/secrets/x", read_only=False, kind="volume"),
     ["/run/secrets/x is writable"]),
    ("own-files-read-only", mount("/srv/x", "/run/cslr/x.py", read_only=False), ["/run/cslr/x.py is writable"]),
    ("secrets-as-files", {"envs": ["HF_TOKEN=hf_0123456789"]}, ["variable HF_TOKEN"]),
    ("secrets-as-files", {"envs": ["PGPASSWORD=/run/secretsx/file"]}, ["variable PGPASSWORD"]),
    ("no-secret-shown", {"envs": [f"URL=redis://:{PASSWORD}@redis"]}, ["value of redis-password"]),
    ("no-secret-shown", {"command": ["--requirepass", PASSWORD]}, ["value of redis-password"]),
    ("no-secret-shown", {"labels": [{"label": PASSWORD, "value": ""}]}, ["value of redis-password"]),
    ("own-secret-shown", {"envs": ["URL=https://a-door-of-ours@example.org"]}, ["value of DOOR"]),
    ("own-secret-shown", {"labels": [{"label": "x", "value": "a-door-of-ours"}]}, ["value of DOOR"]),
    ("fixed-image", {"image": "redis:8"}, ["image redis:8"]),
    ("fixed-image", {"image": "redis@sha256:0123"}, ["image redis@sha256:0123"]),
    ("fixed-image", {"image": None}, ["image None"]),
    ("limits", {"memory": None, "memorySwap": None}, ["no limit of memory", "swap beyond the limit of memory"]),
    ("limits", {"memorySwap": -1.0}, ["swap beyond the limit of memory"]),
    ("limits", {"cpus": None}, ["no limit of CPUs"]),
    ("limits", {"cpus": "0.0"}, ["no limit of CPUs"]),
    ("published-as-asked", port("0.0.0.0"), ["port 6381 on 0.0.0.0"]),
    ("published-as-asked", port("192.168.1.7"), ["port 6381 on 192.168.1.7"]),
    ("published-as-asked", port(None), ["port 6381 on every address"]),
    ("published-as-asked", {"publishAllPorts": True}, ["all ports of the image"]),
    ("log-limit", {"logDriver": None}, ["log without a limit"]),
    ("log-limit", {"logOpts": {"max-file": "3"}}, ["log without a limit"]),
    ("restarts", {"restart": "no"}, ["restart no"]),
    ("restarts", {"restart": None}, ["restart None"]),
    ("health-check", {"healthcheck": None}, ["no health check"]),
    ("health-check", {"healthcheck": {"tests": ["NONE"]}}, ["no health check"]),
]  # fmt: skip


AROUND = Surroundings(
    settings=platform_settings({}),
    state="/state/dev",
    socket="/srv/engine.sock",
    secrets={"redis-password": PASSWORD},
    own_secrets={"DOOR": "a-door-of-ours", "SHORT": "1"},
)


def label(value: object) -> str:
    """The same in each process that collects the tests: without addresses of objects."""
    return re.sub(r"<[^>]* at 0x[0-9a-f]+>", "unknown", str(value))[:60]
