"""Keys of people who log in to the devel container: which lines and files of `devel.keys` are none, and why.

Reads the files that the stack names. No message shows a line, which may be a private key by mistake.
"""

from collections.abc import Iterator
from pathlib import Path

from config.platform import PlatformSettings
from config.problems import Path as Key
from config.problems import Problem, Remove, Set, SettingsError
from config.project import FOLDER
from config.public_keys import PRIVATE, KeyRefused, PublicKey, parse

ENABLED: Key = ("devel", "enabled")
KEYS: Key = ("devel", "keys")
EXAMPLE = "keys/ann.pub"
LARGEST_FILE = 10**6  # bytes


def is_file(entry: str) -> bool:
    """Whether an entry names a file: no line of a key is without a space."""
    return not any(character.isspace() for character in entry.strip())


def keys_are_usable(settings: PlatformSettings) -> Iterator[Problem]:
    """Somebody can log in, and each line is a public key; `load_keys` sees to files."""
    if not settings.devel.enabled:
        return
    if not settings.devel.keys:
        yield Problem(
            KEYS,
            "is empty, so nobody could log in",
            "Name the public keys of those who may, such as the line that `cat ~/.ssh/id_ed25519.pub` prints on their "
            "computer, or files with them; or disable the service:",
            (Set(KEYS, [EXAMPLE]), Set(ENABLED, value=False)),
        )
    for index, entry in enumerate(settings.devel.keys):
        if not is_file(entry):
            try:
                parse(entry)
            except KeyRefused as refused:
                yield _problem(index, "", refused)


def load_keys(
    settings: PlatformSettings, *, stack_file: str, key: str, folder: Path | None = None
) -> tuple[PublicKey, ...]:
    """The keys of `devel.keys`, those in files included.

    Raises:
        SettingsError: a file cannot be read, or a line of it is no public key, or a key is there twice.
    """
    if not settings.devel.enabled:
        return ()
    problems: list[Problem] = []
    places: dict[PublicKey, str] = {}
    for index, entry in enumerate(settings.devel.keys):
        try:
            lines = _lines(entry, folder or FOLDER)
        except KeyRefused as refused:
            problems.append(_problem(index, entry, refused))
            continue
        for where, line in lines:
            try:
                _add(parse(line), where or f"devel.keys[{index}]", places)
            except KeyRefused as refused:
                problems.append(_problem(index, where, refused))
    if problems:
        raise SettingsError(problems, stack_file, key)
    return tuple(places)


def _add(found: PublicKey, where: str, places: dict[PublicKey, str]) -> None:
    other = next((place for key, place in places.items() if key.data == found.data), None)
    if other:
        raise KeyRefused(f"is the same key as {other} ({found.words})", "Remove one of the two.")
    places[found] = where


def _lines(entry: str, folder: Path) -> list[tuple[str, str]]:
    """Each line with a key and where it is: in which file, and on which line of it. Raises `KeyRefused`."""
    if not is_file(entry):
        return [("", entry)]
    path = folder / entry
    remedy = f"Write there the lines that `cat ~/.ssh/id_ed25519.pub` prints on people's computers: {path}"
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(folder.resolve()):
            raise KeyRefused(f"leads to {real}, outside the project", "Copy the file into the project.")
        text = _text(real)
    except UnicodeDecodeError:
        raise KeyRefused("is not a text file", remedy) from None
    except (OSError, RuntimeError) as error:  # the latter for a loop of links, before Python 3.13
        raise KeyRefused(f"cannot be read: {getattr(error, 'strerror', None) or error}", remedy) from None
    if found := PRIVATE.search(text):
        return [(entry, found[0])]
    lines = [(f"{entry}, line {number}", line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    with_keys = [(where, line) for where, line in lines if line and not line.startswith("#")]
    if not with_keys:
        raise KeyRefused("contains no key", remedy)
    return with_keys


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > LARGEST_FILE:
        raise KeyRefused(
            "is not a file with public keys", "Name a file that ends in .pub, or one that lists public keys."
        )
    return path.read_text(encoding="utf-8-sig")  # Windows begins a text with a mark


def _problem(index: int, where: str, refused: KeyRefused) -> Problem:
    path = (*KEYS, index)
    return Problem(
        path,
        " ".join(filter(None, (where, refused.reason))),
        f"{refused.remedy}\nOr remove the entry:",
        (Remove(path),),
    )
