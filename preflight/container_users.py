"""Finds users of this host who share a user id with containers: the kernel gives them access.

Reads the settings and the host's list of users; changes nothing.
"""

import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from config.platform import PlatformSettings
from config.problems import Notice
from stack.secrets import user_id

ROOT = 0  # reads everything on its host
NOBODY = 65534  # no person's account


@dataclass(frozen=True, kw_only=True)
class HostUsers:
    """This host's users by id, and the user who deploys; unknown by default."""

    names: Mapping[int, str] = field(default_factory=dict)
    own: int | None = None

    @classmethod
    def probe(cls, settings: PlatformSettings) -> "HostUsers":
        """Read the host's user databases. Under sudo, the user who deploys is the one who called it."""
        names: dict[int, str] = {}
        # One by one: a directory (LDAP, SSSD) may have too many users to list, and usually lists none.
        for uid in _services(settings):
            with suppress(KeyError):
                names[uid] = pwd.getpwuid(uid).pw_name
        own = os.environ.get("SUDO_UID", "")
        return cls(names=names, own=int(own) if own.isdecimal() else os.getuid())


def shared_users(settings: PlatformSettings, users: HostUsers) -> tuple[Notice, ...]:
    """A notice about each user, other than the one who deploys, who can read the containers' files."""
    return tuple(
        Notice(
            f"{users.names[uid]} has user id {uid} on this host, as have the containers of {', '.join(names)}: that "
            "person can read the secrets there (/proc/PID/root/run/secrets) and end what runs. Trust that person with "
            "the stack, or deploy as that person"
        )
        for uid, names in sorted(_services(settings).items())
        if uid in users.names and uid not in (ROOT, NOBODY, users.own)
    )


def _services(settings: PlatformSettings) -> Mapping[int, list[str]]:
    """The services that run as each user."""
    services: dict[int, list[str]] = {}
    for name in settings.services():
        services.setdefault(user_id(settings.service(name).user), []).append(name)
    return services
