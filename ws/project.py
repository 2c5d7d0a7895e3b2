"""Where the program is, and what both engines read from the environment."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from stack.running_work import ASKS
from stack.state import make_closed, state_root

FOLDER = Path(__file__).parent.parent

PASSPHRASE, PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"
BACKEND = "PULUMI_BACKEND_URL"


def pulumi_home() -> Path:
    """Where the Pulumi CLI keeps its plugins, its programs and who is logged in."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


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
    # The salt of its key is then the state's, where the stack file has none.
    os.environ[ASKS] = "1"
    os.environ.setdefault("PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER", "true")
    return os.environ


def _passphrase(file: Path) -> Path:
    """The file with the passphrase, made on first use."""
    make_closed(file.parent)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new:
            new.write(secrets.token_urlsafe(32))
    except FileExistsError:
        pass
    return file


def _logged_in() -> bool:
    """Whether the user has chosen a backend with `pulumi login`."""
    try:
        return bool(json.loads((pulumi_home() / "credentials.json").read_text()).get("current"))
    except (OSError, ValueError, AttributeError):
        return False
