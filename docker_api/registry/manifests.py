"""Manifests and indexes in registries, over the API of the OCI distribution specification.

Our own client: docs/decisions/0029-libraries-for-pages-and-registries.md says why.
"""

import hashlib
import ipaddress
import json
import os
import ssl
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import parse_dict_header

from docker_api.api import DockerApi, Json
from docker_api.registry.errors import RegistryError, explained
from docker_api.registry.names import HUB, Login, LoginError, Name, login, parse

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker.distribution.manifest."
MANIFESTS = (f"{OCI}manifest.v1+json", f"{DOCKER}v2+json")
OCI_INDEX, DOCKER_LIST = f"{OCI}index.v1+json", f"{DOCKER}list.v2+json"
ACCEPT = ", ".join((*MANIFESTS, OCI_INDEX, DOCKER_LIST))
SECONDS = 30.0
CERTIFICATES = Path("/etc/docker/certs.d")  # where Docker looks for a registry's own authority
HUB_HOST = "registry-1.docker.io"


def index(tag: str, members: Sequence[str]) -> str:
    """Puts an index of images for several platforms, which are in the same repository already; returns its digest.

    A Docker manifest list where all members are Docker's, else an OCI index. Raises `RegistryError`.
    """
    name = parse(tag)
    entries: list[Json] = []
    for member in members:
        other = parse(member)
        if (other.host, other.repository) != (name.host, name.repository):
            raise RegistryError(
                f"{member} is not in the repository of {tag}; an index can only hold images of its own repository"
            )
        entries += _entries(other)
    platforms = [entry["platform"] for entry in entries]
    if twice := [platform for platform in platforms if platforms.count(platform) > 1]:
        raise RegistryError(f"{tag} would hold {twice[0]['os']}/{twice[0]['architecture']} more than once: {members}")
    oci = any(entry["mediaType"].startswith(OCI) for entry in entries)
    kind = OCI_INDEX if oci else DOCKER_LIST
    body = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    _call(name, "PUT", f"manifests/{name.reference}", "pull,push", data=body, headers={"Content-Type": kind})
    return _digest(body)


def manifest_sizes(tag: str) -> dict[str, int]:
    """Bytes of each layer as the registry holds it (compressed), by the layer's diff ID, the lowest first.

    Of an index: those of its first image. Raises `RegistryError`.
    """
    name = parse(tag)
    manifest, _ = _manifest(name, name.reference)
    if "manifests" in manifest:
        manifest, _ = _manifest(name, manifest["manifests"][0]["digest"])
    config = _config(name, manifest)
    sizes = [layer["size"] for layer in manifest["layers"]]
    return dict(zip(config["rootfs"]["diff_ids"], sizes, strict=True))


def _entries(name: Name) -> list[Json]:
    """An image as an index lists it. A tag that is an index itself gives its images, without attestations."""
    manifest, body = _manifest(name, name.reference)
    if "manifests" in manifest:
        return [entry for entry in manifest["manifests"] if entry.get("platform", {}).get("os", "unknown") != "unknown"]
    config = _config(name, manifest)
    platform = {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}
    return [{"mediaType": manifest["mediaType"], "digest": _digest(body), "size": len(body), "platform": platform}]


def _manifest(name: Name, reference: str) -> tuple[Json, bytes]:
    answer = _call(name, "GET", f"manifests/{reference}", "pull", headers={"Accept": ACCEPT})
    manifest: Json = answer.json()
    manifest.setdefault("mediaType", answer.headers.get("Content-Type", MANIFESTS[0]))
    return manifest, answer.content


def _config(name: Name, manifest: Json) -> Json:
    return cast(Json, _call(name, "GET", f"blobs/{manifest['config']['digest']}", "pull").json())


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _call(name: Name, method: str, path: str, scope: str, **options: Any) -> requests.Response:  # noqa: ANN401
    try:
        answer = _request(name, method, path, None, options)
        if answer.status_code == requests.codes.unauthorized:
            answer = _request(name, method, path, _authorization(name, answer, scope), options)
    except requests.RequestException as error:
        raise explained(name, f"cannot connect: {error}") from error
    except LoginError as error:
        raise RegistryError(str(error)) from error
    if not answer.ok:
        raise explained(name, f"{answer.status_code} {answer.text or answer.reason}")
    return answer


def _request(name: Name, method: str, path: str, auth: AuthBase | None, options: dict[str, Any]) -> requests.Response:
    host = HUB_HOST if name.host == HUB else name.host
    insecure = _may_be_insecure(name.host)
    url = f"{host}/v2/{name.repository}/{path}"
    with requests.Session() as session:
        session.verify = False if insecure else _authorities(name.host)
        session.auth = auth or _Anonymous()
        try:
            return session.request(method, f"https://{url}", timeout=SECONDS, **options)
        except requests.ConnectionError:
            if not insecure:
                raise
            return session.request(method, f"http://{url}", timeout=SECONDS, **options)


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
    answer = _token(challenge["realm"], wanted, known)
    if not answer.ok:
        raise explained(name, f"{answer.status_code} from {challenge['realm']}: {answer.text}")
    token = answer.json()
    return _Bearer(token.get("token") or token["access_token"])


def _token(realm: str, wanted: dict[str, str | None], known: Login | None) -> requests.Response:
    if known and known.identity_token:
        form = {**wanted, "grant_type": "refresh_token", "refresh_token": known.identity_token, "client_id": "cslr"}
        return requests.post(realm, data=form, timeout=SECONDS)
    auth = HTTPBasicAuth(known.username, known.password) if known else _Anonymous()
    return requests.get(realm, params=wanted, auth=auth, timeout=SECONDS)


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
