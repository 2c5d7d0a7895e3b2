"""Cross-field validation of a stack config. Facts about the host are checked in ``preflight/host.py``.

Each check is a function from the settings to the problems that it finds; ``CHECKS`` is all of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from pydantic_core import PydanticCustomError

from config import datasets
from config.addresses import NAMES_VARIABLE, env_names
from config.builds import build_problems
from config.cluster import ON_THE_LAN
from config.devel_keys import keys_are_usable
from config.mount_sources import is_within, refusal
from config.notation import NOTEBOOKS, listed_as, notebooks_of
from config.own_dockerfile import dockerfiles_are_named
from config.platform import PlatformSettings
from config.ports import RAY_GCS
from config.problems import Path, Problem, Remove, Set, Together, did_you_mean, distinct, dotted
from config.queue_rules import queue_can_tell, queue_has_a_cluster, queue_users_differ
from config.services import (
    IMAGE_OF,
    RAY_NODES,
    SERVICES,
    ImageSettings,
    MarimoSettings,
    RayNodeSettings,
    ServiceSettings,
    image_owner,
)
from config.tls import files_are_named, ray_tls_has_one_authority
from config.transcription_rules import jobs_on_ray_can_run
from config.transcription_variant import transcription_has_its_gpus
from config.types import check_reached_name, format_quantity, is_path, parse_quantity
from contracts import checkpoints
from contracts.datasets import target
from images.variants import ImpossiblePair, resolve

# Service → the least memory that it starts with.
MINIMUM_MEMORY = {
    "firewall": "32m",
    "redis": "64m",
    "redis-replica": "64m",
    "postgres": "128m",
    "mlflow": "768m",
    "health": "96m",
    "ray-gateway": "96m",
    "ray-head": "2g",
    "ray-cpu": "2g",
    "ray-gpu": "2g",
    "marimo": "1g",
    "queue": "96m",
    "devel": "512m",
    "transcription": "1g",
    "keeper": "48m",
    "transcription-frontend": "32m",
    "exporter": "128m",
    "alertmanager": "48m",
    "redis-exporter": "32m",
    "postgres-exporter": "32m",
    "prometheus": "192m",
    "grafana": "192m",
    "tls": "32m",
}
MINIMUM_SCRATCH = "1g"
LAST_PORT = 65535
LARGEST_SHM = 0.4  # of a service's memory, beside the object store's 30 %
# Service → the service that it needs, and why.
NEEDS = {
    "mlflow": ("postgres", "MLflow keeps its runs in Postgres"),
    "transcription-frontend": ("transcription", "the page shows what that service does"),
    "prometheus": ("health", "most alerts are about what the health service reports"),
}
# Services that only a cluster of several hosts has.
CLUSTER_ONLY = ("redis-replica", "ray-gateway", "ray-head")
# Service → where its own data is mounted.
DATA_TARGETS = {
    "redis": "/data",
    "redis-replica": "/data",
    "postgres": "/var/lib/postgresql/data",
    "mlflow": "/mlflow/artifacts",
    "marimo": "/workspace/notebooks",
    "queue": "/data",
    "devel": "/host-keys",
    "transcription": "/data",
    "alertmanager": "/alertmanager",
    "prometheus": "/prometheus",
    "grafana": "/var/lib/grafana",
}
# Folders of every container that belong to the platform or to the kernel.
RESERVED_TARGETS = (
    "/tmp", "/scratch", "/run/secrets", "/run/cslr", "/run/state", "/opt/venv", "/var/lib/cslr",  # noqa: S108
    "/proc", "/sys", "/dev",
)  # fmt: skip
# Folders that every image needs; in some of them, single files may still be replaced.
IMAGES_TREES = ("/usr/bin", "/usr/sbin", "/usr/lib", "/bin", "/sbin", "/lib", "/lib64")
IMAGES_FOLDERS = ("/usr", "/usr/local", "/usr/share", "/etc", "/etc/ssl", "/etc/ssl/certs", "/home", "/var/lib")
# Environment variables that the platform sets itself, by the start of their names.
RESERVED_ENVIRONMENT = (
    "RAY_NODE_",
    "RAY_AUTH_",
    "RAY_ADDRESS",
    "RAY_REDIS_",
    "RAY_TLS_",
    "RAY_USE_TLS",
    "RAY_external_storage_namespace",
    "RAY_ROTATION_",
    "RAY_memory_monitor_",
    "CSLR_",
    "FIREWALL_",
    "GATEWAY_",
    "GF_PATHS_",
    "KEEPER_",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_STATIC_PREFIX",
)
# Variables of this platform's predecessor, which nothing reads any more → what replaces them.
FORMER_ENVIRONMENT = {
    "USE_CONDA_ENV": "the Python of the image is found by itself, a conda environment named py included "
    "(docs/pulled-images.md)",
    "RAY_EXEC": "ray of the image's own Python is started; run another one yourself: ws exec SERVICE -- COMMAND",
    "PYTHON_EXEC": "the image's own Python is started; run another one yourself: ws exec SERVICE -- COMMAND",
    "HEAD_ADDRESS": "the key ray.head_address says where a head elsewhere is",
}
# Never names of secrets: variables that control the shell and the program loader before a program starts.
NO_SECRET = re.compile(r"PATH|IFS|ENV|HOME|PYTHON(PATH|HOME)|LD_\w+|cslr_\w+")


def run(settings: PlatformSettings) -> list[Problem]:
    """Every problem of settings whose keys are each valid on their own."""
    return distinct(problem for check in CHECKS for problem in check(settings))


def _key(service: str, *steps: str | int) -> Path:
    return (*SERVICES[listed_as(service)], *steps)


def _defaults(settings: PlatformSettings, service: str) -> ServiceSettings:
    return type(settings)().service(listed_as(service))


def ports_are_distinct(settings: PlatformSettings) -> Iterator[Problem]:
    """No two enabled services publish one port; the one that left its default is the one to move. What the cluster
    decides stays as it is.
    """
    usual = {
        _key(name, *path): port for name in SERVICES for path, port in _defaults(settings, name).host_ports.items()
    }
    owners: dict[int, Path] = {}
    published = settings.published_ports()
    taken = {port for _, port in published}
    of_the_cluster = {_key(name) for name in ON_THE_LAN} if settings.membership else set()

    def precedence(published: tuple[Path, int]) -> tuple[bool, bool]:
        path, port = published
        return path[:-1] not in of_the_cluster, usual.get(path) != port

    for path, port in sorted(published, key=precedence):
        owner = owners.setdefault(port, path)
        if owner == path:
            continue
        default = usual.get(path)
        candidates = (default, *range(port + 1, 65536), *range(1024, port))
        other = next(p for p in candidates if p is not None and p not in taken)
        taken.add(other)
        whose = dotted(owner)
        if settings.membership and owner[:-1] in of_the_cluster:
            whose = settings.membership.names(f"{owner[0]}.{'_'.join(map(str, owner[1:]))}")
        yield Problem(
            path,
            f"{port} is already {whose}",
            "No two services of a host are published on one port. Choose another, for example:",
            (Set(path, other),),
        )


def ports_of_people_exist(settings: PlatformSettings) -> Iterator[Problem]:
    """The ports that people get by their order end where all ports do."""
    for service in settings.notebooks if settings.marimo.enabled else ():
        port = settings.service(service).host_ports["port",]
        if port > LAST_PORT:
            key = settings.key(service, "port")
            yield Problem(
                key,
                f"{service} would get port {port}, and ports end at {LAST_PORT}",
                "Count from a lower one; its default is:",
                (Set(key, _defaults(settings, service).host_ports["port",]),),
            )
            return


def memory_suffices(settings: PlatformSettings) -> Iterator[Problem]:
    """Each enabled service gets the memory that it needs to start."""
    for name in settings.services():
        memory, minimum = settings.service(name).memory, MINIMUM_MEMORY[listed_as(name)]
        if memory < parse_quantity(minimum):
            yield Problem(
                settings.key(name, "memory"),
                f"{format_quantity(memory)} is less than the {minimum} that {listed_as(name)} needs to start",
                "Give it at least that much; its default is:",
                (Set(settings.key(name, "memory"), format_quantity(_defaults(settings, name).memory)),),
            )


def work_has_room(settings: PlatformSettings) -> Iterator[Problem]:
    """The scratch holds at least a session of Ray, and shared memory leaves a node the greater part of its memory."""
    if settings.ray.scratch_limit < parse_quantity(MINIMUM_SCRATCH):
        yield Problem(
            ("ray", "scratch_limit"),
            f"{format_quantity(settings.ray.scratch_limit)} is less than the {MINIMUM_SCRATCH} that Ray needs",
            "Give it at least that much; its default is:",
            (Set(("ray", "scratch_limit"), format_quantity(type(settings)().ray.scratch_limit)),),
        )
    users: dict[str, RayNodeSettings | MarimoSettings] = dict(settings.ray_nodes)
    if settings.marimo.enabled:
        people = settings.marimo.users
        users |= {notebooks_of(name): settings.marimo.of(name) for name in people} or {NOTEBOOKS: settings.marimo}
    for service_name, service in users.items():
        name = listed_as(service_name)
        largest = int(service.memory * LARGEST_SHM) // 2**20 * 2**20
        if service.shm and service.shm > largest:
            yield Problem(
                _key(name, "shm"),
                f"{format_quantity(service.shm)} leave too little of {name}'s {format_quantity(service.memory)}",
                "What is in shared memory counts against the memory. Give it at most:",
                (Set(_key(name, "shm"), format_quantity(largest)),),
            )


def whitelist_names_nodes(settings: PlatformSettings) -> Iterator[Problem]:
    """The head whitelist names known nodes, each once, and leaves the cluster a head."""
    if settings.membership:
        return  # hosts lead there, and cluster_file.py sees to them
    whitelist = settings.ray.head_whitelist
    for index, name in enumerate(whitelist):
        path = ("ray", "head_whitelist", index)
        if name not in RAY_NODES:
            yield Problem(path, f"{name[:60]!r} is not a Ray node of this platform", did_you_mean(name, RAY_NODES))
        elif name in whitelist[:index]:
            yield Problem(path, f"{name} is listed twice", "Remove the second entry:", (Remove(path),))
    if settings.ray_nodes and not settings.head_candidates and not settings.ray.head_address:
        yield Problem(
            ("ray", "head_whitelist"),
            f"it names no enabled node ({', '.join(settings.ray_nodes)}), so the Ray cluster would never have a head",
            "Allow a node of this host to be the head, or give the address of a head elsewhere:",
            (
                Set(("ray", "head_whitelist"), list(settings.ray_nodes)),
                Set(("ray", "head_address"), "192.168.1.10:6379"),
            ),
        )


def variant_exists(settings: PlatformSettings) -> Iterator[Problem]:
    """Images are built for this pair of CUDA and Python."""
    try:
        resolve(settings.images.cuda, settings.images.python)
    except ImpossiblePair as pair:
        nearest = pair.nearest[0]
        yield Problem(
            ("images", pair.axis),
            str(pair),
            pair.advice,
            (Together((Set(("images", "cuda"), nearest.cuda), Set(("images", "python"), nearest.python))),),
        )


def builds_can_be_made(settings: PlatformSettings) -> Iterator[Problem]:
    """See `build_settings.build_problems`."""
    yield from build_problems(settings.images, ("images",))


def gpu_services_have_gpus(settings: PlatformSettings) -> Iterator[Problem]:
    """A node that offers GPUs runs only where the stack offers them."""
    if settings.ray.gpu.enabled and not settings.gpu.enabled:
        yield Problem(
            ("ray", "gpu", "enabled"),
            "the node ray-gpu needs GPUs, but gpu.enabled is false",
            "If this host has NVIDIA GPUs, offer them to the stack; otherwise disable the node:",
            (Set(("gpu", "enabled"), True), Set(("ray", "gpu", "enabled"), False)),
        )


def images_have_one_source(settings: PlatformSettings) -> Iterator[Problem]:
    """An image to pull has a reference, an image to build has none."""
    for name in dict.fromkeys(map(image_owner, settings.services())):
        image = settings.service(name).image
        source, reference = _key(name, "image", "source"), _key(name, "image", "reference")
        if image.source == "pull" and image.reference is None:
            yield Problem(
                reference,
                f"is missing, but the image of {name} is to be pulled",
                "Name the image to pull, or build it here:",
                (Set(reference, f"registry.example.org/{name}:1.0"), Set(source, "build")),
            )
        if image.source != "pull" and image.reference is not None:
            yield Problem(
                reference,
                f"{image.reference} would be ignored, since the image of {name} is built here",
                "Pull it, or remove the reference:",
                (Set(source, "pull"), Remove(reference)),
            )


def services_of_clusters_are_not_alone(settings: PlatformSettings) -> Iterator[Problem]:
    """A single host has no use for services that connect several."""
    for name in () if settings.membership else CLUSTER_ONLY:
        path = _key(name, "enabled")
        if settings.service(name).enabled:
            yield Problem(
                path,
                f"{name} is part of a cluster of several hosts, and this stack has none",
                "Remove the key; docs/several-hosts.md says how several hosts become a cluster:",
                (Remove(path),),
            )


def borrowed_images_have_no_source(settings: PlatformSettings) -> Iterator[Problem]:
    """A service that runs another one's image has none of its own."""
    for name, owner in IMAGE_OF.items():
        path = _key(name, "image")
        if settings.service(name).image != ImageSettings():
            reason = f"{name} runs the image of {owner}, so that their versions agree"
            yield Problem(
                path, reason, f"Set {dotted(_key(owner, 'image'))} instead, and remove this key:", (Remove(path),)
            )


def needed_services_are_enabled(settings: PlatformSettings) -> Iterator[Problem]:
    """Each service has the service that keeps its state."""
    needs = dict(NEEDS)
    if not settings.membership:  # queue_rules.py sees to it in a cluster, which decides where Postgres is
        needs["queue"] = ("postgres", "the queue keeps its jobs in Postgres")
    if not settings.ray.head_address:
        needs |= dict.fromkeys(settings.head_candidates, ("redis", "a head keeps the Ray cluster's state in Redis"))
    enabled = settings.services()
    missing = {needs[name] + (name,) for name in enabled if name in needs and needs[name][0] not in enabled}
    for needed, why, name in sorted(missing):
        yield Problem(
            _key(needed, "enabled"),
            f"{needed} is disabled, but {name} needs it: {why}",
            f"Enable it, or disable {name}:",
            (Set(_key(needed, "enabled"), True), Set(_key(name, "enabled"), False)),
        )


def data_is_not_shared(settings: PlatformSettings) -> Iterator[Problem]:
    """No two services keep their own data in one location."""
    owners: dict[str, Path] = {}
    for path, location in own_locations(settings):
        owner = owners.setdefault(location, path)
        if owner != path:
            yield Problem(
                path,
                f"{location} already holds {dotted(owner)}",
                "Give each service a place of its own, or leave the key out to get a volume of this stack:",
                (Remove(path),),
            )


def own_locations(settings: PlatformSettings) -> Iterator[tuple[Path, str]]:
    """Key and place of what is kept where the stack file says."""
    for name in settings.services():
        service = settings.service(name)
        if service.data_key and service.location:
            yield _key(name, service.data_key), service.location
    for key, location in settings.ray.work_locations.items() if settings.workspace_users else ():
        if location:
            yield ("ray", key), location


def host_is_not_mounted(settings: PlatformSettings) -> Iterator[Problem]:
    """No container mounts vital files of this host; ``preflight/host.py`` also judges the targets of paths."""
    for removed, path, source, write in mounted(settings):
        if is_path(source) and (reason := refusal(source, write=write)):
            yield Problem(
                path, without_hint(reason, path), "Name another folder, or remove the key:", (Remove(removed),)
            )


def without_hint(reason: str, path: Path) -> str:
    """The reason; of the platform's own data, which it writes, without the advice to mount it read-only."""
    return reason if path[-1] == "source" else reason.partition("; it may")[0]


def mounted(settings: PlatformSettings) -> Iterator[tuple[Path, Path, str, bool]]:
    """Each mount that a stack file names: the key to remove, its key, its volume or path, and whether it is written."""
    for path, source in own_locations(settings):
        yield path, path, source, True
    for name in settings.services():
        for key, location in settings.service(name).read_locations.items():
            if location:
                yield _key(name, key), _key(name, key), location, False
        for index, volume in enumerate(settings.service(name).volumes):
            path = _key(name, "volumes", index)
            yield path, (*path, "source"), volume.source, not volume.read_only


def datasets_are_not_the_hosts_own(settings: PlatformSettings) -> Iterator[Problem]:
    """See `datasets.problems`; those of a cluster are checked with its file."""
    if not settings.membership:
        yield from datasets.problems(settings.datasets)


def mounts_do_not_collide(settings: PlatformSettings) -> Iterator[Problem]:
    """Extra volumes have targets of their own, and neither lie in nor hide what the platform mounts."""
    for name in settings.services():
        own = DATA_TARGETS.get(listed_as(name))
        used = {own: f"the service's own {settings.service(name).data_key}"} if own else {}
        shared = {target(name, dataset): f"the dataset {dataset}" for dataset in settings.datasets_of(name)}
        if settings.ray.checkpoints_folder and name in settings.workspace_users:
            shared[checkpoints.FOLDER] = "the folder of ray.checkpoints"
        for index, volume in enumerate(settings.service(name).volumes):
            path = _key(name, "volumes", index)
            reserved = _beside(volume.target, RESERVED_TARGETS)
            image = volume.target in IMAGES_FOLDERS or any(is_within(volume.target, tree) for tree in IMAGES_TREES)
            owner = f"{reserved}, which belongs to the platform" if reserved else used.get(volume.target)
            if dataset := _beside(volume.target, shared):
                owner = shared[dataset]
            owner = owner or ("what the image itself has there, and cannot do without" if image else None)
            used.setdefault(volume.target, f"volumes[{index}]")
            if owner:
                yield Problem(
                    (*path, "target"),
                    f"{volume.target} is taken by {owner}",
                    "Mount it elsewhere, for example:",
                    (Set((*path, "target"), f"/mnt/volume{index}"),),
                )


def _beside(wanted: str, taken: Iterable[str]) -> str | None:
    """The first target that another one lies in or hides."""
    return next((one for one in taken if is_within(wanted, one) or is_within(one, wanted)), None)


def environment_is_not_the_platforms(settings: PlatformSettings) -> Iterator[Problem]:
    """Extra environment does not replace variables that the platform sets."""
    for name in settings.services():
        for variable in settings.service(name).env:
            if variable.startswith(RESERVED_ENVIRONMENT):
                path = _key(name, "env", variable)
                yield Problem(
                    path,
                    f"{variable} is set by the platform, from other keys of this file",
                    "Set those keys instead, and remove this one:",
                    (Remove(path),),
                )


def environment_is_read_by_something(settings: PlatformSettings) -> Iterator[Problem]:
    """What meant something to Ray's containers of the predecessor is not ignored in silence."""
    for name in (name for name in settings.services() if name.startswith("ray-")):
        env = settings.service(name).env
        for variable in (variable for variable in env if variable in FORMER_ENVIRONMENT):
            path = _key(name, "env", variable)
            remedies: list[Set | Remove] = [Remove(path)]
            advice = "Remove the variable:"
            if variable == "HEAD_ADDRESS" and settings.membership:
                advice = f"Set {settings.membership.names('head_address')} instead, and remove the variable:"
            elif variable == "HEAD_ADDRESS":
                advice = "Set that key, and remove the variable:"
                remedies.insert(0, Set(("ray", "head_address"), _with_port(env[variable])))
            yield Problem(
                path, f"{variable} means nothing here: {FORMER_ENVIRONMENT[variable]}", advice, tuple(remedies)
            )


def _with_port(address: str) -> str:
    return address if ":" in address else f"{address}:{RAY_GCS}"


def names_of_mlflow_are_exact(settings: PlatformSettings) -> Iterator[Problem]:
    """MLflow's list of hosts has no pattern in it: `10.*` is also the beginning of a name that anybody may register."""
    for name in env_names(settings.mlflow.env):
        try:
            check_reached_name(name)
        except PydanticCustomError as error:
            reason = f"{name[:100]} {(error.context or {})['reason']}"
            path, names = ("mlflow", "env", NAMES_VARIABLE), ("network", "names", 0)
            advice = "Name the host in network.names, and remove this variable:"
            yield Problem(path, reason, advice, (Set(names, "gpuhost.example.org"), Remove(path)))


def env_secrets_are_no_others(settings: PlatformSettings) -> Iterator[Problem]:
    """Secret environment does not replace what the platform sets, nor what `env` does, and has each name once."""
    for key, names in settings.env_secrets.items():
        plain = {
            name: _key(service, "env", name)
            for service in settings.services()
            if settings.env_secrets_key(service) == key
            for name in settings.service(service).env
        }
        for index, name in enumerate(names):
            path = (*key, index)
            if name.startswith(RESERVED_ENVIRONMENT):
                reason = f"{name} is set by the platform, from other keys of this file"
                yield Problem(path, reason, "Set those keys instead, and remove this one:", (Remove(path),))
            elif NO_SECRET.fullmatch(name):
                reason = f"{name} is a variable that programs are started by"
                yield Problem(path, reason, "Give the secret another name, or use `env`:", (Remove(path),))
            elif name in names[:index]:
                yield Problem(path, f"{name} is listed twice", "Remove the second entry:", (Remove(path),))
            elif name in plain:
                reason = f"{name} is in {dotted(plain[name])} as well, in clear"
                yield Problem(path, reason, "Remove it there:", (Remove(plain[name]),))


def tls_has_its_files(settings: PlatformSettings) -> Iterator[Problem]:
    """See `tls.files_are_named`; what is in the files is checked before a deployment (stack/tls.py)."""
    several_hosts = settings.membership is not None
    yield from files_are_named(settings.tls, several_hosts=several_hosts)
    if settings.ray.tls:
        yield from ray_tls_has_one_authority(several_hosts=several_hosts, head_address=settings.ray.head_address)


CHECKS: tuple[Callable[[PlatformSettings], Iterator[Problem]], ...] = (
    variant_exists,
    builds_can_be_made,
    gpu_services_have_gpus,
    transcription_has_its_gpus,
    images_have_one_source,
    dockerfiles_are_named,
    borrowed_images_have_no_source,
    services_of_clusters_are_not_alone,
    queue_has_a_cluster,
    queue_users_differ,
    queue_can_tell,
    keys_are_usable,
    needed_services_are_enabled,
    whitelist_names_nodes,
    ports_are_distinct,
    ports_of_people_exist,
    memory_suffices,
    work_has_room,
    data_is_not_shared,
    host_is_not_mounted,
    datasets_are_not_the_hosts_own,
    mounts_do_not_collide,
    environment_is_not_the_platforms,
    environment_is_read_by_something,
    names_of_mlflow_are_exact,
    env_secrets_are_no_others,
    jobs_on_ray_can_run,
    tls_has_its_files,
)
