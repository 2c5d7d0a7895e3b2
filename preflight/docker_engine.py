"""Checks the Docker Engine that a stack is deployed on, before anything else.

It must belong to this host, be the same for both engines and for people's `docker`, answer, and give containers the
user ids that they request.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import docker
import requests
from docker.errors import DockerException

from config.problems import Problem, Remedy, Remove, SettingsError, show
from docker_api.address import SOCKET, client_folder, engine_address, engine_is_local, named_address, named_context
from docker_api.api import cause

TIMEOUT = 5  # seconds
LOOPBACK = r"\w+://(localhost|127\.[0-9.]+|\[::1\])(:|/|$)"
# Keys of Pulumi's provider that choose its Engine; the embedded engine knows none of them.
PROVIDERS_KEYS = (
    "host", "context", "sshOpts", "certPath", "caMaterial", "certMaterial", "keyMaterial",
)  # fmt: skip
# SecurityOptions of an Engine whose containers have other user ids → reason and remedy.
OTHER_IDS = {
    "rootless": (
        "it is rootless",
        "Deploy on the Engine that root runs. Where both are here:",
        (f"export DOCKER_HOST={SOCKET}",),
    ),
    "userns": (
        "it maps them to others (userns-remap)",
        "Deploy on another host, or have its administrator take userns-remap out of /etc/docker/daemon.json, which\n"
        "hides all images and containers that it has now, of others as well.",
        (),
    ),
}


def refuse_other_engine(config: Mapping[str, object], *, stack_file: str) -> None:
    """Passes unless the stack's config (full keys → values) chooses an Engine for Pulumi's provider.

    Raises:
        SettingsError: they do.
    """
    for name in PROVIDERS_KEYS:
        key = f"docker:{name}"
        if key in config and not (name == "host" and _is_same(str(config[key]), engine_address())):
            reason = "chooses the Docker Engine of Pulumi's provider alone: all other parts would look at another one"
            advice = (
                "A stack is deployed from the host of its Engine: run this there, and remove the key. Another socket\n"
                "of this host is chosen with DOCKER_HOST:"
            )
            raise SettingsError([Problem((), reason, advice, (Remove(()),))], stack_file, key)


def refuse_remote_engine() -> None:
    """Passes unless the environment, or a context of Docker's client, names an Engine that is another host's, where
    files of this one cannot be mounted, or another one than is deployed on here.

    Raises:
        SettingsError: it does.
    """
    address = named_address()
    if not engine_is_local() and not re.match(LOOPBACK, address):
        reason = f"{address[:100]} is the Docker Engine of another host, and secrets are mounted from files of this one"
        raise _refusal("DOCKER_HOST", reason, "Run this on that host, or deploy this one:", ("unset DOCKER_HOST",))
    if address:
        return  # it comes before any context, for Docker's client too
    source, context = _context()
    if context in ("", "default"):
        return
    there = _address_of(context)
    if _is_same(there, SOCKET):
        return
    where = there or "not known here"
    reason = f"the context {show(context)} is {where}, where your `docker` looks, but this deploys on {SOCKET}"
    local = there.startswith("unix://")
    remedy = f"export DOCKER_HOST={there if local else SOCKET}"
    advice = "To deploy there:" if local else "To deploy on this host instead, here and with your `docker`:"
    raise _refusal(source, reason, advice, (remedy,))


def refuse_other_system(system: str = sys.platform) -> None:
    """Passes on Linux. Containers get files and addresses of this host, which are a virtual machine's on other systems.

    Raises:
        SettingsError: it is another system.
    """
    if system == "linux":
        return
    name = {"darwin": "macOS", "win32": "Windows"}.get(system, system)
    reason = f"stacks are deployed on Linux hosts; on {name}, Docker runs in a virtual machine"
    advice = (
        "Run this on a Linux host, for example by ssh, or on Windows inside WSL2. Images can be built here. See\n"
        "docs/windows-and-macos.md:"
    )
    raise _refusal("This host", reason, advice, ("ws matrix",))


def refuse_unusable_engine() -> None:
    """Passes if Docker answers, and gives containers the user ids that they ask for.

    Raises:
        SettingsError: it does not.
    """
    try:
        client = docker.from_env(timeout=TIMEOUT)
        try:
            info = client.api.info()
        finally:
            client.close()
    except (DockerException, requests.RequestException, OSError, ValueError) as error:
        # No other check would be right: for example, ports may be in use by containers that cannot be listed.
        reason = f"does not answer at {engine_address()}: {cause(error)}"
        advice = "Start it, and run this again. What is missing:"
        raise _refusal("Docker", reason, advice, ("ws doctor",)) from None
    if problem := other_ids(info):
        raise SettingsError([problem], "Docker", "")


def other_ids(info: Mapping[str, Any]) -> Problem | None:
    """Why an Engine's containers have other user ids, from its answer to ``/info``."""
    options = [option.removeprefix("name=").partition(",")[0] for option in info.get("SecurityOptions") or ()]
    for option, (why, advice, commands) in OTHER_IDS.items():
        if option in options:
            reason = (
                f"users in its containers are other users on this host, since {why}: they could not read their "
                "secrets, nor write to folders that they are given"
            )
            return Problem((), reason, advice, commands)
    return None


def _refusal(source: str, reason: str, advice: str, commands: tuple[Remedy, ...]) -> SettingsError:
    return SettingsError([Problem((), reason, advice, commands)], source, "")


def _context() -> tuple[str, str]:
    """Return where the context of Docker's client is set, and its name."""
    if named := named_context():
        return "DOCKER_CONTEXT", named
    file = client_folder() / "config.json"
    with suppress(OSError, ValueError, AttributeError):
        return str(file), str(json.loads(file.read_text()).get("currentContext") or "")
    return str(file), ""


def _address_of(context: str) -> str:
    """The Engine of a context; empty if the context does not exist here."""
    meta = client_folder() / "contexts/meta" / hashlib.sha256(context.encode()).hexdigest() / "meta.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(meta.read_text())["Endpoints"]["docker"]["Host"])[:100]
    return ""


def _is_same(address: str, other: str) -> bool:
    """Whether two addresses belong to one Engine: `/var/run` is a link to `/run`."""
    unix = "unix://"
    if not (address.startswith(unix) and other.startswith(unix)):
        return address == other
    return os.path.realpath(address.removeprefix(unix)) == os.path.realpath(other.removeprefix(unix))
