"""The environment of a command: the only module of `ws` that reads or changes it.

Changes apply to all programs that the command starts, mainly the Pulumi CLI and the program that it runs.
"""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from build_report.runs import RUN, new_run
from config.project import state_root
from stack.identity import ASKS
from stack.state import make_closed, write_new

PASSPHRASE, PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"
BACKEND = "PULUMI_BACKEND_URL"
FALLBACK = "PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER"
FOR_PULUMI = (BACKEND, PASSPHRASE_FILE, FALLBACK)  # needed by a shell to see the same stacks
CALLED_FROM = "CSLR_CALLED_FROM"  # set by `bin/ws`
# Variables with a path, which child processes read as well.
PATHS = (
    PASSPHRASE_FILE, "PULUMI_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "DOCKER_CONFIG",
    "DOCKER_CERT_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "UV_CACHE_DIR",
)  # fmt: skip


def inherited(**more: str) -> dict[str, str]:
    """The environment of a program that this one starts."""
    return {**os.environ, **more}


def take_paths_from_caller() -> Path:
    """Makes paths in the environment absolute, and returns the folder that `ws` was called in."""
    folder = Path(os.environ.pop(CALLED_FROM, "") or Path.cwd())
    for name in PATHS:
        if value := os.environ.get(name):
            os.environ[name] = str(folder / value)
    return folder


def prepare_environment() -> Mapping[str, str]:
    """Gives both engines the same passphrase, and Pulumi a backend; what the user chose stays. Returns all of it."""
    folder = state_root() / "pulumi"
    if PASSPHRASE not in os.environ and PASSPHRASE_FILE not in os.environ:
        os.environ[PASSPHRASE_FILE] = str(_passphrase(folder / "passphrase"))
    if BACKEND not in os.environ and not _logged_in():
        make_closed(folder)
        os.environ[BACKEND] = f"file://{folder}"
    os.environ.setdefault("PULUMI_SKIP_UPDATE_CHECK", "true")
    # Pulumi lists the packages of .venv by pip at each run, which would look for a newer pip where nothing answers.
    os.environ.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    # Then the state supplies the salt of its key, if the stack file has none.
    os.environ.setdefault(FALLBACK, "true")
    os.environ[ASKS] = "1"
    os.environ.setdefault(RUN, new_run())  # all builds that the command starts belong to one run
    return os.environ


def pulumi_home() -> Path:
    """The folder with the Pulumi CLI's plugins, programs and logins."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def plugins_may_be_downloaded() -> bool:
    """Whether the user lets Pulumi download plugins."""
    return os.environ.get("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "").lower() not in ("1", "true")


def _passphrase(file: Path) -> Path:
    """The file with the passphrase, made on first use."""
    if not file.exists():
        write_new(file, secrets.token_urlsafe(32).encode(), 0o600)
    return file


def _logged_in() -> bool:
    """Whether the user has chosen a backend with `pulumi login`."""
    try:
        return bool(json.loads((pulumi_home() / "credentials.json").read_text()).get("current"))
    except (OSError, ValueError, AttributeError):
        return False
