"""The words for folders of this host that containers could not use."""

import os
import shlex

from config.mount_sources import is_within
from config.problems import Path, Problem, Remedy, Remove
from preflight.host_facts import Folder, HostFacts

# Folders that belong to the system or to all users, including the folders above them.
ALL_OF_THEM = ("/root", "/home", "/usr", "/bin", "/sbin", "/lib", "/opt", "/var", "/etc", "/tmp", "/srv", "/mnt")  # noqa: S108


def missing_folder(path: Path, source: str, facts: HostFacts, owner: str, removal: Remove) -> Problem:
    """Nothing is where a service is to find a folder, which a command can make."""
    above = source
    while above != "/" and (found := facts.folder(above)) is None:
        above = os.path.dirname(above)  # noqa: PTH120 - of paths that are texts throughout
    if above != "/" and found and not found.is_folder:
        reason = f"{source} cannot exist: {above} is a file on this host"
        return Problem(path, reason, "Name another folder, or remove the key:", (removal,))
    there = next((one for one in facts.all_spellings(source) if one != source), source)  # the target of a link
    make = f"sudo install -d {owner} {shlex.quote(there)}"
    return Problem(path, f"there is no folder {source} on this host", "Make it, or name another:", (make,))


def closed_folder(
    path: Path, source: str, found: Folder, *, name: str, uid: int, write: bool, removed: Path
) -> Problem:
    """A service's user has less access to a folder than it needs."""
    what = "folder" if found.is_folder else "file"
    rights = "rwx" if write else "rx"
    entry = f"u:{uid}:{rights if found.is_folder else rights.replace('x', '')}"
    commands: tuple[Remedy, ...] = (f"sudo setfacl -m {entry} {shlex.quote(source)}", Remove(removed))
    advice = f"It belongs to user {found.uid}, and stays so: name another {what}, let user {uid} in as well"
    if any(is_within(folder, source) for folder in ALL_OF_THEM):  # its content is not meant for others
        commands, advice = (Remove(removed),), f"It is not one to give to containers: name another {what}"
    elif not write:
        advice += f" (what is in it must be readable for user {uid} too)"
    reason = f"{source} cannot be {'written' if write else 'read'} by user {uid}, which {name} runs as"
    return Problem(path, reason, f"{advice}, or remove the key:", commands)
