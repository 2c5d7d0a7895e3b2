"""Paths as people write them, who stand in another folder than this program: `bin/ws` goes to the project's."""

import os
from pathlib import Path

CALLED_FROM = "CSLR_CALLED_FROM"  # set by `bin/ws`
# Variables that hold a path, which programs that this one starts read as well.
PATHS = (
    "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "DOCKER_CONFIG",
    "DOCKER_CERT_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "UV_CACHE_DIR",
)  # fmt: skip

_folder = Path()


def stand_where_called() -> None:
    """Takes relative paths, in the environment and in arguments, from the folder that `ws` was called in."""
    global _folder
    _folder = Path(os.environ.pop(CALLED_FROM, "") or Path.cwd())
    for name in PATHS:
        if value := os.environ.get(name):
            os.environ[name] = str(_folder / value)


def there(path: Path | None) -> Path | None:
    """The path of an argument. A callback for typer."""
    return None if path is None else _folder / path.expanduser()
