"""Image names, and Docker's login at their registries."""

import warnings
from dataclasses import dataclass

import docker.errors

from docker_api.internals import auth

HUB = "docker.io"


@dataclass(frozen=True, kw_only=True)
class Name:
    """``<host>/<repository>:<tag>``, or ``@<digest>`` in place of the tag."""

    text: str  # as it was given
    host: str
    repository: str  # as the registry names it
    reference: str  # tag or digest

    @property
    def local(self) -> str:
        """The repository as the Engine names it: without the tag."""
        return self.text.removesuffix(self.reference)[:-1] if self.text.endswith(self.reference) else self.text


@dataclass(frozen=True, kw_only=True)
class Login:
    """Docker's login at a registry."""

    username: str = ""
    password: str = ""
    identity_token: str = ""  # in place of both


class LoginError(Exception):
    """Docker's config cannot be used. The message is one sentence."""


def parse(text: str) -> Name:
    """The parts of a name; a missing tag is ``latest``."""
    repository, at, digest = text.partition("@")
    if not at:
        head, slash, last = text.rpartition("/")
        last, _, tag = last.partition(":")
        repository, digest = f"{head}{slash}{last}", tag or "latest"
    host, path = auth.resolve_repository_name(repository)
    return Name(
        text=text,
        host=host,
        repository=f"library/{path}" if host == HUB and "/" not in path else path,
        reference=digest,
    )


def login(host: str) -> Login | None:
    """The login for a registry from Docker's config, its credential store or helper; None where there is none."""
    found = _config(host)
    values = {key.lower(): value for key, value in (found or {}).items()}
    if values.get("identitytoken"):
        return Login(identity_token=values["identitytoken"])
    if values.get("username"):
        return Login(username=values["username"], password=values.get("password") or "")
    return None


def header(host: str) -> dict[str, str]:
    """The header that passes the login to the Engine; required even without a login."""
    return {"X-Registry-Auth": auth.encode_header(_config(host) or {}).decode()}


def _config(host: str) -> dict[str, str] | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # of a helper that is missing: that is the error below
            found: dict[str, str] | None = auth.load_config().resolve_authconfig(host)
    except docker.errors.DockerException as error:
        raise LoginError(
            f"the credential helper for {host} in Docker's config.json fails: {str(error).rstrip('.')}. "
            f"Install it, or remove it from config.json and run docker login {host}"
        ) from error
    return found
