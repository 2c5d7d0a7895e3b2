"""Facts that each host of a cluster publishes about itself, for the preflights of the others."""

from config.packages import NONE
from config.platform import PlatformSettings
from images.catalog import CATALOG
from stack.identity import StackIdentity
from stack.state import HostFiles

MACHINE = "machine"  # a name that is unique to this machine


def published(settings: PlatformSettings, identity: StackIdentity, files: HostFiles) -> dict[str, object]:
    """The facts that hosts must agree on, or that tell them apart."""
    return {
        **versions(settings),
        "checkpoints": settings.ray.storage_path or "",
        "subnet": settings.network.subnet,
        "stack": identity.stack,
        "nodes": [name for name in ("ray-head", "ray-cpu", "ray-gpu") if settings.service(name).enabled],
        "machine": files.generated(MACHINE),
    }


def versions(settings: PlatformSettings) -> dict[str, str]:
    """The versions in the images of this stack's Ray nodes. Empty if one is pulled: it reports them once it runs."""
    if any(node.image.source == "pull" for node in (settings.ray.cpu, *settings.ray_nodes.values())):
        return {"cuda": "", "python": "", "ray": "", "packages": ""}
    variant = settings.variant
    locked = CATALOG["ray-runtime"].versions(variant)
    lock = settings.packages_lock
    packages = " ".join((lock.digest if lock else NONE, *sorted(settings.images.apt)))
    wheel = settings.images.ray
    ray = wheel.version if wheel else locked["ray"]
    return {"cuda": variant.cuda, "python": variant.python, "ray": ray, "packages": packages}
