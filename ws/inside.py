"""Programs inside a running service: `ws exec` and `ws shell`. Docker's own client runs them, terminal and all."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from stack.identity import StackIdentity
from ws.containers import ContainerState, containers
from ws.errors import WsError

DEVEL = "devel"
HOME = "/home/cslr"  # of whoever logs in there

# What `entrypoints/with_python.sh` does before it starts the service's program, so that both see the same: the
# secrets of `env_secrets`, and the Python of pulled images, which need not be on their PATH.
ENTER = """\
for cslr_file in /run/secrets/env/*; do
    if [ -r "$cslr_file" ]; then export "${cslr_file##*/}=$(cat "$cslr_file")"; fi
done
for cslr_bin in /opt/venv/bin /opt/conda/envs/py/bin /opt/*conda*/envs/py/bin /home/ray/anaconda3/bin; do
    if [ -x "$cslr_bin/python" ]; then PATH="$cslr_bin:$PATH"; export PATH; break; fi
done
unset cslr_file cslr_bin
"""
COMMAND = ENTER + 'exec "$@"'
SHELL = ENTER + "if command -v bash >/dev/null; then exec bash; else exec sh; fi"


def running(identity: StackIdentity, service: str) -> ContainerState:
    """The container of a service, which runs. Raises `WsError`."""
    found = there(identity, service)
    if found.state != "running":
        raise WsError(
            f"{service} of stack {identity.stack} does not run: {found.status}.\n"
            f"  `ws logs {service} -s {identity.stack}` says why; `ws up -s {identity.stack}` starts it."
        )
    return found


def devel(identity: StackIdentity) -> ContainerState:
    """The devel container, which runs. Raises `WsError`."""
    if all(one.service != DEVEL for one in containers(identity)):
        stack = identity.stack
        raise WsError(
            f"stack {stack} has no devel container. With the public key of your computer, this starts one:\n"
            f"    ws set devel.keys \"['$(cat ~/.ssh/id_ed25519.pub)']\" -s {stack}\n"
            f"    ws set devel.enabled true -s {stack}\n"
            f"    ws up -s {stack}"
        )
    return running(identity, DEVEL)


def there(identity: StackIdentity, service: str) -> ContainerState:
    """The container of a service, running or not. Raises `WsError`."""
    found = {one.service: one for one in containers(identity)}
    if not found:
        raise WsError(f"stack {identity.stack} is not deployed. Start it with: ws up --stack {identity.stack}")
    if service not in found:
        raise WsError(f"stack {identity.stack} has no service {service}. It has: {', '.join(sorted(found))}.")
    return found[service]


def docker_arguments(
    container: str,
    script: str,
    command: Sequence[str] = (),
    *,
    terminal: bool,
    user: str | None = None,
    folder: str | None = None,
    env: Sequence[str] = (),
) -> list[str]:
    """The arguments of Docker's client that run a script, and with it a command, in a container."""
    options = ["--interactive", *(["--tty"] if terminal else [])]
    options += [f"--user={user}"] if user else []
    options += [f"--workdir={folder}"] if folder else []
    options += [f"--env={variable}" for variable in env]
    return ["docker", "exec", *options, container, "sh", "-c", script, "sh", *command]


def become(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replaces this process by Docker's client, whose signals, terminal and exit code are then the command's own."""
    client = shutil.which(arguments[0], path=environment.get("PATH"))
    if client is None:
        raise WsError(
            "Docker's command-line client is not installed, which runs programs in containers.\n"
            "  On Debian: apt-get install docker-cli. On Ubuntu, docker.io has it."
        )
    os.execve(client, list(arguments), dict(environment))  # noqa: S606  (no shell is wanted)


def has_terminal() -> bool:
    """Whether a person types and reads: then the program in the container gets a terminal as well."""
    return sys.stdin.isatty() and sys.stdout.isatty()
