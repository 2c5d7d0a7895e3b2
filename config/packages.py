"""A stack's own packages: checks that the lock beside the stack file exists and matches the stack file.

Reads two files and no package index: an outdated lock is refused here, and `ws packages` makes a new one.
"""

from pathlib import Path

from config.builds import ImagesSettings
from config.problems import Path as Key
from config.problems import Problem, Remove, SettingsError
from config.project import FOLDER
from coordination.regular_file import refuse_others
from images import packages_lock
from images.packages_lock import PackagesLock
from images.variants import Variant

KEY: Key = ("images", "packages")
NONE = "none"  # in place of a lock's digest


def lock_name(stack_file: str) -> str:
    """The lock's file, beside the stack file: ``Pulumi.dev.packages.txt``."""
    return f"{stack_file.removesuffix('.yaml')}.packages.txt"


def load_lock(
    images: ImagesSettings, variant: Variant, *, stack_file: str, key: str, folder: Path | None = None
) -> PackagesLock | None:
    """The lock of the stack's own packages; None if it has none.

    Raises:
        SettingsError: the lock is missing, or is for other packages or other images.
    """
    if not images.packages:
        return None
    name, folder = lock_name(stack_file), folder or FOLDER
    try:
        refuse_others(folder / name)
        lock = packages_lock.read(folder / name)
    except OSError as error:
        reason = f"are not locked: {name} {'is missing' if not (folder / name).exists() else error.strerror}"
    except ValueError as error:
        reason = f"are not locked: {name} is damaged: {str(error).splitlines()[0]}"
    else:
        reason = _outdated(lock, images, variant, name)
        if not reason:
            return lock
    stack = stack_file.removeprefix("Pulumi.").removesuffix(".yaml")
    commands = (f"ws packages lock -s {stack}", Remove(KEY))
    advice = "Make the lock, which finds the versions that fit the images; or do without packages of your own:"
    raise SettingsError([Problem(KEY, reason, advice, commands)], stack_file, key)


def _outdated(lock: PackagesLock, images: ImagesSettings, variant: Variant, name: str) -> str:
    """Why the lock is outdated; empty if it is not."""
    added = [item for item in images.packages if item not in lock.asked]
    removed = [item for item in lock.asked if item not in images.packages]
    if added or removed:
        changes = [*(f"{item} is not in it" for item in added), *(f"{item} is in it still" for item in removed)]
        return f"are others than those in {name}: {', '.join(changes)}"
    if lock.pair != variant.key:
        return f"are locked in {name} for {lock.pair or 'no images'}, and this stack has {variant.key}"
    if lock.images != packages_lock.held_digest(variant):
        return f"are locked in {name} for earlier images of {variant.key}: these hold other versions now"
    return ""
