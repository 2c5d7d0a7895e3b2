"""Names in registries, logins of Docker's config, and the token that registries hand out for one."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from docker_api.api import DockerApi, DockerError
from docker_api.registry import (
    DamagedError,
    RegistryError,
    fetch_artifact,
    index,
    index_digest,
    is_pushed,
    manifest_sizes,
    pushed_digest,
    tags,
)
from docker_api.registry.client import LARGEST
from docker_api.registry.errors import explained
from docker_api.registry.manifests import DOCKER_LIST, MANIFESTS, OCI_INDEX, digest_of
from docker_api.registry.names import Login, login, parse


class TestName:
    @pytest.mark.parametrize(
        ("text", "host", "repository", "reference", "local"),
        [
            ("redis", "docker.io", "library/redis", "latest", "redis"),
            ("team/redis:8", "docker.io", "team/redis", "8", "team/redis"),
            ("localhost/redis", "localhost", "redis", "latest", "localhost/redis"),
            ("registry.test:5000/a/b:1", "registry.test:5000", "a/b", "1", "registry.test:5000/a/b"),
            ("registry.test/a@sha256:12", "registry.test", "a", "sha256:12", "registry.test/a"),
        ],
    )
    def test_has_its_parts(self, text, host, repository, reference, local):
        name = parse(text)
        assert (name.host, name.repository, name.reference, name.local) == (host, repository, reference, local)


class TestPushedImage:
    """An Engine without containerd's image store names digests of pushed and pulled images only."""

    def test_is_known_by_the_digest_in_its_own_repository(self):
        engine = Engine()
        found = {"RepoDigests": ["a.test/x@sha256:1", "b.test/x@sha256:2"]}
        assert is_pushed(engine, found, "b.test/x:1") == "b.test/x@sha256:2"
        assert is_pushed(engine, found, "b.test/xy:1") is None
        assert is_pushed(engine, {"RepoDigests": None}, "b.test/x:1") is None
        assert engine.asked == []

    @pytest.mark.parametrize(("there", "pushed"), [("sha256:2", "b.test/x@sha256:2"), ("sha256:3", None), (None, None)])
    def test_on_containerds_store_is_one_that_the_registry_has(self, config, there, pushed):
        engine = Engine(there)
        found = {"RepoDigests": ["b.test/x@sha256:2"], "Descriptor": {"digest": "sha256:2"}}
        assert is_pushed(engine, found, "b.test/x:1") == pushed
        assert engine.asked == ["/distribution/b.test/x:1/json"]


class Engine(DockerApi):
    """Says what a registry has; not asked of it in vain."""

    def __init__(self, digest: str | None = None) -> None:
        self._digest = digest
        self.asked: list[str] = []

    def call(self, method: str, path: str, **_: Any) -> Any:
        self.asked.append(path)
        if self._digest is None:
            raise DockerError("not found", 404)
        return {"Descriptor": {"digest": self._digest}}


class TestError:
    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            ("unauthorized: authentication required", "docker login registry.test"),
            ("no basic auth credentials", "docker login registry.test"),
            ("denied: requested access to the resource is denied", "denies this login access to registry.test/x:1"),
            ("dial tcp 127.0.0.1:1: connect: connection refused", "the registry registry.test does not answer"),
            ("http: server gave HTTP response to HTTPS client", "insecure-registries"),
            ("manifest unknown", "has no registry.test/x:1"),
            ("write: no space left on device", "no space left"),
            ("something new", "registry.test/x:1: something new"),
            ("401 from https://login.test/token: no", "docker login registry.test"),
            ("404 page", "has no registry.test/x:1"),
            ("Get http://localhost:44017/v2/: dial tcp 127.0.0.1:44017: connection refused", "does not answer"),
            ("Get https://registry.test/v2/set-404/blobs: connection reset", "registry.test/x:1: Get"),
        ],
    )
    def test_says_what_to_do(self, said, meant):
        text = str(explained(parse("registry.test/x:1"), said))
        assert meant in text
        assert said in text
        assert "\n" not in text


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's config.json, which is not there yet."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def auths(host: str, user: str, password: str) -> str:
    return json.dumps({"auths": {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}})


class TestLogin:
    def test_is_none_without_config(self, config):
        assert login("registry.test") is None

    def test_is_the_one_for_the_host(self, config):
        config.write_text(auths("registry.test:5000", "me", "a:b"))
        assert login("registry.test:5000") == Login(username="me", password="a:b")
        assert login("registry.test") is None

    def test_may_be_a_token(self, config):
        config.write_text(json.dumps({"auths": {"registry.test": {"identitytoken": "t"}}}))
        assert login("registry.test") == Login(identity_token="t")


class TokenRegistry(ThreadingHTTPServer):
    """A registry of one image that wants a bearer token, and hands it out itself to the one who may have it."""

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self.server_address[1]}"
        config = {"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": ["sha256:a", "sha256:b"]}}
        layers = [{"digest": "sha256:1", "size": 10}, {"digest": "sha256:2", "size": 20}]
        digest = digest_of(json.dumps(config).encode())
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": digest}, "layers": layers}
        self.manifest = json.dumps(manifest)
        self.files = {"/v2/x/manifests/1": self.manifest, f"/v2/x/blobs/{digest}": json.dumps(config)}
        self.headers: dict[str, str] = {}  # of every answer
        self.put: dict[str, tuple[str, str]] = {}  # path → type and content
        self.tokens: list[dict[str, list[str]]] = []  # what was asked for


class Handler(BaseHTTPRequestHandler):
    server: TokenRegistry

    def do_GET(self) -> None:
        url = urlparse(self.path)
        if url.path == "/token":
            self._token(parse_qs(url.query), self.headers.get("Authorization", ""))
        elif self._allowed():
            found = self.server.files.get(self.path)
            self._answer(200 if found else 404, found or "manifest unknown", self.server.headers)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._token(form, form.get("refresh_token", [""])[0])

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self._allowed():
            self.server.put[self.path] = (self.headers["Content-Type"], content)
            self._answer(201, "")

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == "Bearer granted":
            return True
        realm = f'Bearer realm="http://{self.server.host}/token",service="the, registry"'
        self._answer(401, "", {"WWW-Authenticate": realm})
        return False

    def _token(self, asked: dict[str, list[str]], proof: str) -> None:
        self.server.tokens.append(asked)
        right = proof in ("identity", "Basic " + base64.b64encode(b"me:right").decode())
        self._answer(200 if right else 401, json.dumps({"access_token": "granted"} if right else {"details": "no"}))

    def _answer(self, status: int, content: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(params=[MANIFESTS[0], MANIFESTS[1]], ids=["oci", "docker"])
def registry(request, config: Path) -> Iterator[TokenRegistry]:
    with TokenRegistry(request.param) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        config.write_text(auths(server.host, "me", "right"))
        yield server
        server.shutdown()


class TestBearerToken:
    def test_is_asked_for_with_name_and_password(self, registry):
        assert manifest_sizes(f"{registry.host}/x:1") == {"sha256:a": 10, "sha256:b": 20}
        assert registry.tokens[0] == {"service": ["the, registry"], "scope": ["repository:x:pull"]}

    def test_is_asked_for_with_an_identity_token(self, registry, config):
        config.write_text(json.dumps({"auths": {registry.host: {"identitytoken": "identity"}}}))
        assert manifest_sizes(f"{registry.host}/x:1")
        assert registry.tokens[0]["grant_type"] == ["refresh_token"]

    @pytest.mark.parametrize("content", ["", "wrong"])
    def test_that_is_refused_is_one_sentence(self, registry, config, content):
        config.write_text(auths(registry.host, "me", content) if content else "{}")
        with pytest.raises(RegistryError, match=f"docker login {registry.host}"):
            manifest_sizes(f"{registry.host}/x:1")

    def test_for_an_index_may_write(self, registry):
        digest = index(f"{registry.host}/x:all", [f"{registry.host}/x:1"])
        assert registry.tokens[-1]["scope"] == ["repository:x:pull,push"]
        kind, content = registry.put["/v2/x/manifests/all"]
        (member,) = json.loads(content)["manifests"]
        assert kind == json.loads(content)["mediaType"] == (OCI_INDEX if "oci" in member["mediaType"] else DOCKER_LIST)
        assert member["platform"] == {"os": "linux", "architecture": "arm64"}
        assert digest.startswith("sha256:")

    def test_index_has_the_digest_that_is_told_before(self, registry):
        member = f"{registry.host}/x:1"
        told = index_digest(f"{registry.host}/x:all", [member])
        assert not registry.put
        assert index(f"{registry.host}/x:all", [member]) == told

    def test_index_takes_the_images_of_an_index_without_attestations(self, registry):
        entry = {"mediaType": MANIFESTS[0], "digest": "sha256:d", "size": 1}
        listed = [
            {**entry, "platform": {"os": "linux", "architecture": "amd64"}},
            {**entry, "platform": {"os": "unknown", "architecture": "unknown"}},
        ]
        registry.files["/v2/x/manifests/2"] = json.dumps({"mediaType": OCI_INDEX, "manifests": listed})
        index(f"{registry.host}/x:all", [f"{registry.host}/x:1", f"{registry.host}/x:2"])
        content = json.loads(registry.put["/v2/x/manifests/all"][1])
        assert [member["platform"]["architecture"] for member in content["manifests"]] == ["arm64", "amd64"]
        assert content["mediaType"] == OCI_INDEX


class TestHostileRegistry:
    """One that answers whatever it likes."""

    def test_gives_an_index_no_other_image_than_the_one_of_the_digest(self, registry):
        place, digest = f"{registry.host}/x", digest_of(registry.manifest.encode())
        registry.files[f"/v2/x/manifests/{digest}"] = registry.manifest
        assert index_digest(f"{place}:all", [f"{place}@{digest}"])
        registry.files[f"/v2/x/manifests/{digest}"] = f"{registry.manifest} "
        with pytest.raises(DamagedError, match=f"another content under {digest}"):
            index_digest(f"{place}:all", [f"{place}@{digest}"])

    def test_gives_an_image_no_other_config(self, registry):
        (blob,) = (path for path in registry.files if "/blobs/" in path)
        registry.files[blob] = registry.files[blob].replace("arm64", "amd64")
        with pytest.raises(DamagedError, match="another content under"):
            index_digest(f"{registry.host}/x:all", [f"{registry.host}/x:1"])

    @pytest.mark.parametrize("content", ["<html>", "[]", "[" * 100_000, "1"])
    def test_that_answers_no_json_is_told(self, registry, content):
        registry.files |= {"/v2/x/manifests/1": content, "/v2/x/tags/list": content}
        for ask in (lambda: tags(f"{registry.host}/x"), lambda: fetch_artifact(f"{registry.host}/x", "1", "text/x")):
            with pytest.raises(DamagedError, match="does not answer as a registry does"):
                ask()
        assert pushed_digest(f"{registry.host}/x:1") == digest_of(content.encode())

    @pytest.mark.parametrize(
        "manifest",
        [
            {},
            {"artifactType": "text/x"},
            {"artifactType": "text/x", "layers": [{}]},
            {"artifactType": "text/x", "layers": [{"annotations": {}, "digest": 1, "size": 1}] * 17},
            {"artifactType": "text/x", "layers": [{"annotations": {"org.opencontainers.image.title": "a"},
                                                   "digest": "sha256:1", "size": float("inf")}]},
        ],
    )  # fmt: skip
    def test_has_no_artifact_of_another_form(self, registry, manifest):
        registry.files["/v2/x/manifests/1"] = json.dumps(manifest)
        with pytest.raises(DamagedError, match="is not an artifact of type text/x"):
            fetch_artifact(f"{registry.host}/x", "1", "text/x")

    def test_that_sends_without_end_is_cut_off(self, registry):
        registry.files["/v2/x/manifests/1"] = " " * (LARGEST + 1)
        with pytest.raises(DamagedError, match="more than"):
            pushed_digest(f"{registry.host}/x:1")

    @pytest.mark.parametrize(
        ("following", "reason"),
        [("/v2/x/tags/list", "does not end"), ("http://localhost:1/v2/x/tags/list", "another server, localhost:1")],
    )
    def test_with_pages_of_tags_that_lead_astray_is_left(self, registry, following, reason, monkeypatch):
        monkeypatch.setattr("docker_api.registry.artifacts.MOST_PAGES", 5)
        registry.files["/v2/x/tags/list"] = json.dumps({"tags": ["a"]})
        registry.headers = {"Link": f'<{following}>; rel="next"'}
        with pytest.raises(DamagedError, match=reason):
            tags(f"{registry.host}/x")

    @pytest.mark.parametrize("listed", [{}, {"tags": None}, {"tags": 1}, {"tags": [1, None]}])
    def test_without_tags_has_none(self, registry, listed):
        registry.files["/v2/x/tags/list"] = json.dumps(listed)
        assert tags(f"{registry.host}/x") == []

    def test_says_only_so_much_in_a_message(self, registry):
        assert len(str(explained(parse(f"{registry.host}/x:1"), "word " * 10**6))) < 2000
