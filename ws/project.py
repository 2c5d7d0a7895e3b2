"""Where the program is, whose objects a stack's are, and what both engines read from the environment."""

import json
import os
import secrets
from pathlib import Path

from config.stack_file import project_of_stack
from stack.identity import StackIdentity
from stack.running_work import ASKS
from stack.state import make_closed, state_root

FOLDER = Path(__file__).parent.parent

PASSPHRASE, PASSPHRASE_FILE = "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"
BACKEND = "PULUMI_BACKEND_URL"


def identity(stack: str) -> StackIdentity:
    """The identity of a stack that has a stack file. Raises `ConfigError` for another."""
    return StackIdentity(project=project_of_stack(FOLDER, stack), stack=stack)


def pulumi_home() -> Path:
    """Where the Pulumi CLI keeps its plugins, its programs and who is logged in."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def prepare_environment() -> None:
    """Gives both engines the same passphrase, and Pulumi a backend; what the user chose stays as it is."""
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
