"""The cluster key, from which all secrets of a cluster over several hosts are derived.

It is in the encrypted stack config or in a file of this user; the host of the cluster's Redis makes the file on first
use, and every other host needs a copy (``ws cluster key``).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from config.cluster import Membership
from config.project import state_root
from config.remedies import secret_command, stack_of
from stack.secrets import SecretError
from stack.state import write_atomically

KEY = "clusterKey"  # of the stack config
MINIMUM_LENGTH = 32


def key_file(project: str, cluster: str) -> Path:
    """The file of the cluster key on this host."""
    return state_root() / project / f"cluster-{cluster}.key"


def cluster_key(
    membership: Membership,
    configured: Callable[[str], str | None],
    *,
    project: str,
    stack_file: str,
    dry_run: bool,
) -> str:
    """The cluster key. If there is none, the host of the cluster's Redis makes one; a preview uses a temporary one.

    Raises:
        SecretError: this host needs a copy of the key first.
    """
    file = key_file(project, membership.cluster.name)
    text, remedy = configured(KEY), secret_command(stack_of(stack_file) or "STACK", f"{project}:{KEY}")
    if text is not None:
        return _checked(text, f"{stack_file}: {project}:{KEY}", remedy)
    if file.is_file():
        return _checked(file.read_text(errors="replace"), str(file), copy_command(membership, file))
    if membership.host != membership.redis_host:
        raise SecretError(
            f"{stack_file}: {project}:{KEY}: is needed: all secrets of the cluster {membership.cluster.name} are "
            "made from "
            f"one key, and {membership.redis_host}, the host of its Redis, makes that on its first deployment.\n"
            f"  Deploy {membership.redis_host} first, or run `ws cluster key` there, and copy the key to this host:\n"
            f"    {copy_command(membership, file)}\n"
            "  or set it in this stack:\n"
            f"    {remedy}"
        )
    key = secrets.token_urlsafe(32)
    if not dry_run:
        write_atomically(file, f"{key}\n".encode(), 0o600)
    return key


def derived(key: str, cluster: str, name: str) -> str:
    """The secret `name` of a cluster: 256 bits, URL-safe; reveals neither the key nor another secret."""
    digest = hmac.new(key.encode(), f"cslr/{cluster}/{name}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _checked(text: str, where: str, remedy: str) -> str:
    key = text.strip()
    if len(key) < MINIMUM_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise SecretError(
            f"{where}: is not a key of a cluster: it must have at least {MINIMUM_LENGTH} printable ASCII characters "
            f"and no space.\n  Give it the whole key, as `ws cluster key` says where to find it on the host of Redis:\n"
            f"    {remedy}"
        )
    return key


def copy_command(membership: Membership, file: Path) -> str:
    """The command that copies the key from the host of Redis, unreadable for others, if this user exists there too."""
    source = membership.cluster.hosts[membership.redis_host].address
    return f"(umask 077; mkdir -p {file.parent} && scp {source}:{file} {file})"
