"""Devel: people's shells and editors beside the cluster, over SSH.

Owns the container and the volume with its host key. People log in as the user of all images, with keys of the stack
file; the home folder, scratch and notebooks that they find are those of nodes and notebooks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components.docker import ContainerSpec, Healthcheck
from components.environment import Environment
from components.marimo import PROCESS_GUARD, SHARED_MEMORY
from components.ray import NO_TELEMETRY, QUIET_GIT
from components.service import Host, Service, dataset_mounts, distinct, extra_mounts
from config.datasets import DatasetSettings
from config.devel import DevelSettings
from config.ports import DEVEL
from config.public_keys import PublicKey
from contracts.devel import HOST_KEYS_TARGET, KEYS_FILE, KEYS_TARGET, USER
from stack.mount import Mount
from stack.programs import HOOKS_PATH, run_module

PROGRAM = "entrypoints.devel"
KEYS_FOLDER = "login-keys"
# A whole login, up to the question for a key: sshd must ask, and refuse whoever has none.
STRANGER = (
    "ssh -F none -p {port} -o BatchMode=yes -o IdentityFile=none -o IdentityAgent=none -o StrictHostKeyChecking=no "
    "-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR {user}@127.0.0.1 true 2>&1 </dev/null | tee /dev/stderr | "
    "grep -q 'Permission denied (publickey)'"
)


@dataclass(frozen=True, kw_only=True)
class DevelArgs:
    """Plain values, already validated, and dependencies."""

    settings: DevelSettings
    host: Host
    image: pulumi.Input[str]
    keys: tuple[PublicKey, ...]
    ray_address: str | None  # ray://host:port
    dashboard: str | None  # of Ray, as host:port
    tracking_uri: str | None  # MLflow
    notebooks: Mount | None  # those that all people share
    datasets: Mapping[str, DatasetSettings] = field(default_factory=dict)
    after: Sequence[pulumi.Resource] = ()


class Devel(Service):
    """**Pulumi type** ``cslr:devel:Devel``. Ready when sshd refuses a login without a key."""

    def __init__(self, name: str, args: DevelArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:devel:Devel", name, deployed_on=args.host, port=DEVEL, opts=opts)
        settings, host = args.settings, args.host
        links = {
            "RAY_ADDRESS": args.ray_address,
            "MLFLOW_TRACKING_URI": args.tracking_uri,
        }
        jobs = {"RAY_API_SERVER_ADDRESS": f"http://{args.dashboard}"} if args.dashboard else {}  # of `ray job`
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module(PROGRAM, str(DEVEL)),
                healthcheck=Healthcheck(
                    command=("sh", "-c", STRANGER.format(port=DEVEL, user=USER)), interval=3, start_period=60
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(
                    defaults={**NO_TELEMETRY, **QUIET_GIT, **host.workspace.environment(name), **jobs},
                    user=settings.env,
                    required={
                        **host.ray_access_environment,
                        **{key: value for key, value in links.items() if value},
                        # A DataLoader starts its workers in the same way as one in a Ray task.
                        "PYTHONPATH": HOOKS_PATH,
                    },
                ),
                ports=self._publish(DEVEL, settings.port),
                mounts=(
                    self._data(settings.host_keys, "host-keys", HOST_KEYS_TARGET),
                    # A folder, so that a key that comes or goes counts at the next login, and ends no session.
                    Mount(
                        source=host.files.open_folder(KEYS_FOLDER, _files(args.keys)),
                        target=KEYS_TARGET,
                        read_only=True,
                    ),
                    *distinct(*host.module(PROGRAM, PROCESS_GUARD), *host.ray_hooks()),
                    host.examples(),
                    *host.workspace.mounts,
                    *((args.notebooks,) if args.notebooks else ()),
                    *host.ray_access(settings.user),
                    *host.mlflow_login(settings.user),
                    *host.env_secrets(name),
                    *dataset_mounts(name, args.datasets),
                    *extra_mounts(settings.volumes),
                ),
                shm_bytes=settings.shm or int(settings.memory * SHARED_MEMORY),
                programs_in_tmp=True,
            ),
            after=args.after,
        )


def _files(keys: tuple[PublicKey, ...]) -> dict[str, str]:
    return {KEYS_FILE: "".join(f"{key.line}\n" for key in keys)}
