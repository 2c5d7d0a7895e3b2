"""Settings of the devel container. Its keys are read and checked in ``devel_keys.py``."""

from typing import Annotated, Literal

from pydantic import Field

from config.ports import DEVEL
from config.services import (
    GIB,
    PORT,
    CpuLimit,
    DataLocation,
    EnvSecretNames,
    MemoryLimit,
    SharedMemory,
    SinglePortSettings,
)
from config.types import AsTuple, HostPort, LoginKey
from contracts.devel import USER


class DevelSettings(SinglePortSettings):
    """The devel container: shells, VS Code and files over SSH, beside the cluster, with compilers and debuggers."""

    data_key = "host_keys"
    enabled: bool = Field(default=False, description="Whether this host runs the service.")
    cpus: CpuLimit = 2.0
    memory: MemoryLimit = 4 * GIB
    user: Literal["1000:1000"] = Field(default="1000:1000", description="The user whom the image knows.")
    env_secrets: EnvSecretNames = ()
    port: HostPort = Field(default=DEVEL, description=PORT)
    keys: Annotated[tuple[LoginKey, ...], AsTuple] = Field(
        default=(),
        description="Public keys of the people who may log in. Each entry is a key, as in `id_ed25519.pub`, or the "
        "path of a file with one key a line, relative to the project folder: `keys/ann.pub` (docs/devel.md).",
        examples=[["keys/ann.pub"]],
    )
    shm: SharedMemory = None
    host_keys: DataLocation = None


def host_entry(name: str, *, host: str, port: int, jump: str | None = None) -> str:
    """The lines for `~/.ssh/config`; `jump`: by way of which host, where the port is published there alone."""
    # A name of its own for the host's key: 127.0.0.1 is another host on each computer.
    lines = [f"HostName {host}", f"Port {port}", f"User {USER}", f"HostKeyAlias {name}"]
    lines += [f"ProxyJump {jump}"] if jump else []
    return "\n".join((f"Host {name}", *(f"    {line}" for line in lines)))
