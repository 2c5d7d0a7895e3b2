"""Cross-field validation of transcription jobs that run on the Ray cluster."""

from collections.abc import Iterator

from config.platform import PlatformSettings
from config.problems import Path, Problem, Remedy, Set
from config.services import SERVICES
from config.transcription_variant import IMAGE
from images.packages_lock import name_of
from images.variants import VARIANTS

PACKAGE = "faster-whisper"
RUN_ON: Path = ("transcription", "jobs", "run_on")
HERE = Set(RUN_ON, "container")
FITTING = next(filter(IMAGE.fits, VARIANTS))  # has the libraries that faster-whisper's CTranslate2 calls


def jobs_on_ray_can_run(settings: PlatformSettings) -> Iterator[Problem]:
    """Jobs that run on Ray find nodes of this host, with room, a package and rights for them."""
    if not settings.transcription.enabled or settings.transcription.jobs.run_on != "ray":
        return
    if settings.membership or settings.ray.head_address:
        reason = "nodes of other hosts cannot see this host's media, and this stack's Ray cluster has other hosts"
        yield Problem(RUN_ON, reason, "Run jobs in the service's container:", (HERE,))
        return
    if not settings.ray_nodes:
        enable = Set((*SERVICES["ray-cpu"], "enabled"), True)
        reason = "this host runs no Ray node"
        yield Problem(RUN_ON, reason, "Enable one, or run jobs in the service's container:", (enable, HERE))
        return
    yield from _package(settings)
    yield from _room(settings)
    yield from _gpus(settings)
    yield from _users(settings)


def _package(settings: PlatformSettings) -> Iterator[Problem]:
    wanted = settings.images.packages
    built = any(node.image.source == "build" for node in settings.ray_nodes.values())
    if built and PACKAGE not in map(name_of, wanted):
        yield Problem(
            ("images", "packages"),
            f"lacks {PACKAGE}, without which the Ray nodes cannot transcribe",
            "Add it (`ws packages lock` then locks its version), or run jobs in the service's container:",
            (Set(("images", "packages"), [*wanted, PACKAGE]), HERE),
        )


def _room(settings: PlatformSettings) -> Iterator[Problem]:
    jobs, nodes = settings.transcription.jobs, settings.ray_nodes
    fitting = {name: node for name, node in nodes.items() if not jobs.gpus or name == "ray-gpu"}
    largest = max((node.logical_cpus for node in fitting.values()), default=None)
    if largest is not None and jobs.cpus > largest:
        path: Path = ("transcription", "jobs", "cpus")
        reason = f"{jobs.cpus:g} is more than the {largest} that {' or '.join(fitting)} offers, so no file would begin"
        yield Problem(path, reason, "Take at most:", (Set(path, largest),))


def _gpus(settings: PlatformSettings) -> Iterator[Problem]:
    path: Path = ("transcription", "jobs", "gpus")
    if not settings.transcription.jobs.gpus:
        return
    node = settings.ray_nodes.get("ray-gpu")
    if node is None:
        remedies: tuple[Remedy, ...] = (Set((*SERVICES["ray-gpu"], "enabled"), True), Set(path, 0))
        yield Problem(path, "no Ray node of this host offers GPUs", "Enable that node, or use CPUs:", remedies)
    elif node.image.source == "build" and settings.images.cuda.partition(".")[0] != str(IMAGE.cuda):
        reason = f"{PACKAGE} needs the libraries of CUDA {IMAGE.cuda}, and the images have CUDA {settings.images.cuda}"
        other = Set(("images", "cuda"), FITTING.cuda)
        yield Problem(path, reason, f"Use images of CUDA {IMAGE.cuda}, or CPUs:", (other, Set(path, 0)))
    elif node.image.source == "build" and not node.torch:
        reason = "the images without PyTorch have no CUDA libraries"
        torch = Set((*SERVICES["ray-gpu"], "torch"), True)
        yield Problem(path, reason, "Use the image with PyTorch, or CPUs:", (torch, Set(path, 0)))


def _users(settings: PlatformSettings) -> Iterator[Problem]:
    user = settings.transcription.user
    for name, node in settings.ray_nodes.items():
        if node.user != user:
            yield Problem(
                (*SERVICES[name], "user"),
                f"{node.user} is not {user}, the user of transcription, so neither could write the other's results",
                "Give both the same user:",
                (Set(("transcription", "user"), node.user),),
            )
