"""Resolves paths that people give relative to their own folder, because `bin/ws` changes to the project's folder."""

from pathlib import Path

import typer

from ws.environment import take_paths_from_caller

_folder = Path()


def stand_where_called() -> None:
    """Takes relative paths, in the environment and in arguments, from the folder that `ws` was called in."""
    global _folder
    _folder = take_paths_from_caller()


def there(path: Path | None) -> Path | None:
    """The path of an argument. A callback for typer."""
    return None if path is None else _absolute(path)


def all_there(paths: list[Path] | None) -> list[Path]:
    """The paths of an option that may be repeated. A callback for typer."""
    return [_absolute(path) for path in paths or ()]


def _absolute(path: Path) -> Path:
    try:
        return _folder / path.expanduser()
    except RuntimeError as error:
        raise typer.BadParameter(f"{str(path)!r} is in the home of a user whom this host does not know.") from error
