"""Explains a failed transfer in one sentence, with the remedy."""

import re

from docker_api.registry.names import Name

MOST_WORDS = 1000  # characters of the other side's own words: an answer may be a page

# What the message contains (lower case) → what it means; the first that fits. Three digits are a status of HTTP: as
# part of a port or of an image's name they mean nothing.
MEANINGS = (
    (
        ("unauthorized", "no basic auth", "authentication required", "401"),
        "{host} requires a login with access to {name}. Log in: docker login {host}",
    ),
    (
        ("denied", "403", "insufficient_scope"),
        "{host} denies this login access to {name}. Log in as another user: docker login {host}",
    ),
    (
        ("refused", "no such host", "timeout", "timed out", "unreachable", "resolve", "cannot connect"),
        "the registry {host} does not answer. Check its name, that it runs, and that this host can reach it.",
    ),
    (
        ("http response to https",),
        "{host} speaks plain HTTP, which Docker refuses. Add it to insecure-registries in /etc/docker/daemon.json.",
    ),
    (
        ("manifest unknown", "not found", "404"),
        "{host} has no {name}. Check the name and the tag, or push it first.",
    ),
    (("no space left",), "{host} has no space left for {name}. Free some space there."),
)


class RegistryError(Exception):
    """A registry could not be used. One sentence with the remedy, then the other side's own words."""


class DamagedError(RegistryError):
    """What the registry has under a name is not what belongs there."""


class MissingError(RegistryError):
    """The registry answers, and has nothing of that name."""


def explained(name: Name, message: str) -> RegistryError:
    """The error for a transfer of `name` that failed with `message`."""
    said = " ".join(message.split())[:MOST_WORDS]
    for signs, meaning in MEANINGS:
        if any(_contains(said.lower(), sign) for sign in signs):
            return RegistryError(f"{meaning.format(host=name.host, name=name.text)} ({said})")
    return RegistryError(f"{name.text}: {said}")


def _contains(said: str, sign: str) -> bool:
    if sign.isdigit():
        return re.search(rf"(?<![\w:./-]){sign}(?![\w:./-])", said) is not None
    return sign in said
