"""Facts of this host for the health service (contracts/facts.py): where commands write them, and containers read them.

Of a stack in its folder, of the user's builds in the state folder. Written as files, because the health service has
neither the Docker socket nor a way to the host.
"""

from pathlib import Path

from contracts.document import dump, load
from contracts.facts import CERTIFICATES, Times
from stack.mount import Mount
from stack.programs import PROGRAMS_TARGET
from stack.state import HostFiles, make_closed, write_atomically

FOLDER = "facts"
TARGETS = (Path(PROGRAMS_TARGET) / "facts", Path(PROGRAMS_TARGET) / "facts-of-builds")


def write(root: Path, name: str, document: object) -> None:
    """Replaces a fact in the folder of a stack, or of the user. May raise `OSError`."""
    folder = _folder(root)
    write_atomically(folder / f"{name}.json", dump(document).encode(), 0o644)


def certificate(root: Path, name: str, expires: float | None) -> None:
    """Says when one of the stack's certificates expires; None: there is none. What else the file says stays."""
    try:
        before = load(Times, (root / FOLDER / f"{CERTIFICATES}.json").read_text())
    except (OSError, ValueError):
        before = Times(times={})
    others = {each: time for each, time in before.times.items() if each != name}
    now = others if expires is None else {**others, name: expires}
    if now != dict(before.times):
        write(root, CERTIFICATES, Times(times=now))


def mounts(files: HostFiles) -> tuple[Mount, ...]:
    """Mounts of the stack's and of the user's facts."""
    sources = (files.folder / FOLDER, Path(of_builds(str(files.folder))))
    if not files.dry_run:
        for source in sources:
            _folder(source.parent)
    return tuple(
        Mount(source=str(source), target=str(target), read_only=True)
        for source, target in zip(sources, TARGETS, strict=True)
    )


def of_builds(stack_folder: str) -> str:
    """The folder with the facts of the user's builds, by a stack's own folder."""
    return str(Path(stack_folder).parent.parent / FOLDER)


def _folder(root: Path) -> Path:
    make_closed(root)
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)  # containers of any user read it; the closed folder above keeps others out
    return folder
