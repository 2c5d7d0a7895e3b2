"""Where a stack's queue is, who asks it, and with which token."""

import getpass
from collections.abc import Mapping
from pathlib import Path

from config.ports import QUEUE
from ws.environment import inherited
from ws.errors import WsError
from ws.queue.client import QueueClient

URL_VARIABLE = "CSLR_QUEUE_URL"  # of a queue elsewhere, with Ray's own variables for the token
USER_VARIABLE = "CSLR_USER"
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def queue_of(stack: str, user: str | None = None) -> QueueClient:
    """The queue of a stack. Raises `WsError` for a stack without one."""
    environment = inherited()
    who = user or environment.get(USER_VARIABLE) or _login_name()
    if url := environment.get(URL_VARIABLE):
        remedy = f"Is {URL_VARIABLE} right, and its tunnel open? See the page there: {url}"
        return QueueClient(url=_checked(url), user=who, token=_token(environment), remedy=remedy)
    from ws.queue.of_stack import token_of, trust_of, url_of  # which a laptop does not have
    from ws.stack_settings import open_stack

    configured = open_stack(stack)
    remedy = f"See what is down: ws ps -s {stack}. Start it: ws up -s {stack}"
    return QueueClient(
        url=url_of(configured), user=who, token=token_of(configured), remedy=remedy, trust=trust_of(configured)
    )


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:  # the latter before Python 3.13
        raise WsError(f"This user has no login name. Say who submits: --user NAME, or {USER_VARIABLE}=NAME") from error


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise WsError(f"{URL_VARIABLE} is {url!r}, which is not a URL. Example: http://127.0.0.1:{QUEUE}")
    return url.rstrip("/")


def _token(environment: Mapping[str, str]) -> str:
    if token := environment.get(TOKEN_VARIABLE):
        return token
    path = environment.get(TOKEN_FILE_VARIABLE)
    if not path:
        raise WsError(
            f"{URL_VARIABLE} is set, but there is no token. Set {TOKEN_FILE_VARIABLE} to the file that holds it: "
            "ray-token in the bundle of `ws client`"
        )
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WsError(f"{TOKEN_FILE_VARIABLE} is {path!r}, which cannot be read: {error}") from error
