"""What registries and the Engine say of a failed transfer, as one sentence with a way out."""

from docker_api.registry.names import Name

# What the message contains → what it means; the first that fits.
MEANINGS = (
    (
        ("unauthorized", "no basic auth", "authentication required", "401"),
        "{host} wants a login that may use {name}. Log in as one who may: docker login {host}",
    ),
    (
        ("denied", "403", "insufficient_scope"),
        "{host} forbids this login to use {name}. Log in as one who may (docker login {host}), or use another.",
    ),
    (
        ("refused", "no such host", "timeout", "timed out", "unreachable", "resolve", "cannot connect"),
        "the registry {host} does not answer. Check its name, and that it runs and can be reached from here.",
    ),
    (
        ("http response to https",),
        "{host} speaks plain HTTP, which Docker refuses. Add it to insecure-registries in /etc/docker/daemon.json.",
    ),
    (
        ("manifest unknown", "not found", "404"),
        "{host} has no {name}. Check the name and the tag, or push it first.",
    ),
    (("no space left",), "{host} has no space left for {name}. Make room there."),
)


class RegistryError(Exception):
    """A registry could not be used. One sentence with the remedy, then the other side's own words."""


def explained(name: Name, message: str) -> RegistryError:
    """The error for a transfer of `name` that failed with `message`."""
    said = " ".join(message.split())
    for signs, meaning in MEANINGS:
        if any(sign in said.lower() for sign in signs):
            return RegistryError(f"{meaning.format(host=name.host, name=name.text)} ({said})")
    return RegistryError(f"{name.text}: {said}")
