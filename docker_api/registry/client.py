"""Requests to registries, over the API of the OCI distribution specification.

Our own client: docs/decisions/0029-libraries-for-pages-and-registries.md says why.
"""

import ipaddress
import os
import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import parse_dict_header

from docker_api.api import DockerApi, Json
from docker_api.registry.errors import DamagedError, MissingError, RegistryError, explained
from docker_api.registry.names import HUB, Login, LoginError, Name, login

SECONDS = 30.0
LARGEST = 16 * 2**20  # bytes of an answer: manifests and configs have kilobytes, and a registry may send without end
CERTIFICATES = Path("/etc/docker/certs.d")  # where Docker looks for a registry's own authority
HUB_HOST = "registry-1.docker.io"


def call(name: Name, method: str, path: str, scope: str, **options: Any) -> requests.Response:  # noqa: ANN401
    """Asks a repository, logged in if the registry demands it; `path` below it, or the address that it gave itself.

    Raises:
        RegistryError: it refuses or does not answer. `MissingError`: it has no such thing.
    """
    try:
        answer = _request(name, method, path, None, options)
        if answer.status_code == requests.codes.unauthorized:
            answer = _request(name, method, path, _authorization(name, answer, scope), options)
    except requests.RequestException as error:
        raise explained(name, f"cannot connect: {error}") from error
    except LoginError as error:
        raise RegistryError(str(error)) from error
    if not answer.ok:
        refusal = explained(name, f"{answer.status_code} {answer.text or answer.reason}")
        raise MissingError(str(refusal)) if answer.status_code == requests.codes.not_found else refusal
    return answer


def call_json(name: Name, path: str, scope: str, **options: Any) -> tuple[Json, requests.Response]:  # noqa: ANN401
    """What a repository has there, which must be an object of JSON. Raises `RegistryError`, `DamagedError`."""
    answer = call(name, "GET", path, scope, **options)
    return _object(name, answer), answer


def _object(name: Name, answer: requests.Response) -> Json:
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DamagedError(
            f"{name.text}: {name.host} does not answer as a registry does, but with {answer.text[:60]!r}"
        )
    return found


def _request(name: Name, method: str, path: str, auth: AuthBase | None, options: dict[str, Any]) -> requests.Response:
    host = HUB_HOST if name.host == HUB else name.host
    insecure = _may_be_insecure(name.host)
    url = f"{host}/v2/{name.repository}/{path}"
    with requests.Session() as session:
        session.verify = False if insecure else _authorities(name.host)
        session.auth = auth or _Anonymous()
        session.hooks = BOUNDED
        if "://" in path:
            if urlsplit(path).netloc != host:
                session.auth = _Anonymous()  # the login is this registry's alone
            return session.request(method, path, timeout=SECONDS, **options)
        try:
            return session.request(method, f"https://{url}", timeout=SECONDS, **options)
        except requests.ConnectionError:
            if not insecure:
                raise
            return session.request(method, f"http://{url}", timeout=SECONDS, **options)


def _bounded(answer: requests.Response, **_: object) -> None:
    """Has the answer, which is not read yet, end with an error where it is too large."""
    whole = answer.raw.stream

    def stream(amount: int, **options: Any) -> Iterator[bytes]:  # noqa: ANN401
        size = 0
        for part in whole(amount, **options):
            size += len(part)
            if size > LARGEST:
                raise DamagedError(f"{urlsplit(answer.url).netloc} answers with more than {LARGEST} bytes")
            yield part

    answer.raw.stream = stream  # type: ignore[method-assign]


BOUNDED: dict[str, Any] = {"response": [_bounded]}


class _Anonymous(AuthBase):
    """No login. Without this, requests would use ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Bearer(AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _authorization(name: Name, refusal: requests.Response, scope: str) -> AuthBase | None:
    """The login that the registry asked for: name and password, or a token from the service that it names."""
    known = login(name.host)
    kind, _, rest = refusal.headers.get("WWW-Authenticate", "").partition(" ")
    if kind.lower() == "basic":
        return HTTPBasicAuth(known.username, known.password) if known else None
    if kind.lower() != "bearer":
        return None
    challenge = parse_dict_header(rest)  # type: ignore[no-untyped-call]
    wanted = {"service": challenge.get("service"), "scope": f"repository:{name.repository}:{scope}"}
    realm = challenge.get("realm") or ""
    answer = _token(realm, wanted, known)
    if not answer.ok:
        raise explained(name, f"{answer.status_code} from {realm}: {answer.text}")
    found = _object(name, answer)
    return _Bearer(str(found.get("token") or found.get("access_token")))


def _token(realm: str, wanted: dict[str, str | None], known: Login | None) -> requests.Response:
    if known and known.identity_token:
        form = {**wanted, "grant_type": "refresh_token", "refresh_token": known.identity_token, "client_id": "cslr"}
        return requests.post(realm, data=form, timeout=SECONDS, hooks=BOUNDED)
    auth = HTTPBasicAuth(known.username, known.password) if known else _Anonymous()
    return requests.get(realm, params=wanted, auth=auth, timeout=SECONDS, hooks=BOUNDED)


@cache
def _may_be_insecure(host: str) -> bool:
    """Whether Docker also talks to this registry without TLS: on this host, or in the daemon's insecure-registries."""
    name = host.rpartition(":")[0] or host
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        address = None
    if name == "localhost" or (address and address.is_loopback):
        return True
    config = DockerApi().call("GET", "/info")["RegistryConfig"]
    networks = (ipaddress.ip_network(network) for network in config.get("InsecureRegistryCIDRs") or ())
    return not config["IndexConfigs"].get(host, {}).get("Secure", True) or any(
        address and address in network for network in networks
    )


def _authorities(host: str) -> str | bool:
    """The CA file to trust: from the environment, the registry's own, or the system's."""
    own = sorted((CERTIFICATES / host).glob("*.crt")) if (CERTIFICATES / host).is_dir() else []
    system = ssl.get_default_verify_paths().cafile
    return os.environ.get("REQUESTS_CA_BUNDLE") or (str(own[0]) if own else system) or True
