"""The queue of a stack that is deployed from this checkout."""

import ssl

from config.addresses import connectable
from config.platform import PlatformSettings
from config.ports import QUEUE
from stack.state import stack_folder
from stack.tls import trusted_file
from stack.trust import certificate_alone
from ws.errors import WsError
from ws.queue.access import TOKEN_FILE_VARIABLE, URL_VARIABLE
from ws.stack_settings import StackSettings


def published(settings: PlatformSettings) -> tuple[str, int] | None:
    """The address and port where a queue is published, on this host or on another of the cluster; None: there is none.

    On another host, it is looked for at the default port, beside Postgres, where the rules put it.
    """
    if "queue" in settings.services():
        return settings.bind_address("queue"), settings.queue.port
    cluster = settings.membership.cluster if settings.membership else None
    if cluster and cluster.mlflow and not settings.membership.runs("postgres"):  # type: ignore[union-attr]
        return cluster.hosts[cluster.mlflow.host].address, QUEUE
    return None


def url_of(configured: StackSettings) -> str:
    """Its address. Raises `WsError` for a stack without one."""
    stack = configured.identity.stack
    if configured.matrix is not None:
        raise WsError(f"stack {stack} only builds images, so it has no queue.")
    if found := published(configured.platform):
        address, port = found
        return f"{'https' if configured.platform.tls.enabled else 'http'}://{connectable(address)}:{port}"
    raise WsError(
        f"stack {stack} has no queue.\n  Enable it: ws set queue.enabled true -s {stack}, then ws up -s {stack}. "
        f"To use one elsewhere: {URL_VARIABLE}=http://HOST:{QUEUE} with {TOKEN_FILE_VARIABLE}"
    )


def trust_of(configured: StackSettings) -> ssl.SSLContext | None:
    """How its certificate is trusted; None without TLS."""
    if not configured.platform.tls.enabled:
        return None
    file = trusted_file(stack_folder(configured.identity))
    if not file.is_file():
        raise WsError(f"{file} is missing: `ws up -s {configured.identity.stack}` writes it, and turns TLS on.")
    return certificate_alone(str(file))


def token_of(configured: StackSettings) -> str:
    """The token of everybody who uses the stack."""
    return configured.previewed.secrets(configured.membership).values["ray-token"]
