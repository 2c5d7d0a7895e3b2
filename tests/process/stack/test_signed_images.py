"""Signed lists in a real registry, made by the real ssh-keygen: which images count, and why others do not."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from config.platform import PlatformSettings
from config.problems import SettingsError
from docker_api.registry import MissingError, fetch_artifact, push_artifact, tags
from preflight import signatures
from stack.image_list import ImageList, SignedImage
from stack.signed_images import KIND, LATEST, LIST, SIGNATURE, look, place
from stack.ssh_signature import sign
from testing.live.registry import PASSWORD, USER, Registry, serve
from testing.signing_keys import allow, make_key

DIGESTS = [f"sha256:{digit * 64}" for digit in "abc"]
RUNS = [f"2026112{day}T120000Z-0123abcd" for day in range(3)]


@pytest.fixture
def server(docker_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    yield from serve(docker_registry, folder, login=False)


@dataclass(kw_only=True)
class Site:
    """A registry, one who signs, and those who trust that one."""

    registry: str
    key: Path
    signers: Path

    def image(self, number: int, name: str = "health", tag: str = "1") -> SignedImage:
        return SignedImage(DIGESTS[number], f"{self.registry}/{name}:{tag}", "linux/amd64")

    def put(
        self, run: int, *images: SignedImage, registry: str = "", changed: bytes = b"", key: Path | None = None
    ) -> None:
        """One run's list."""
        listed = ImageList(registry=registry or self.registry, made="2026-11-29T12:00:00Z", images=images)
        text = listed.text().encode()
        files = {LIST: text + changed, SIGNATURE: sign(text, key or self.key)}
        push_artifact(place(self.registry), (RUNS[run], LATEST), KIND, files)

    def look(self, *wanted: SignedImage) -> Any:
        return look(self.registry, self.signers, [image.by_digest for image in wanted])

    def settings(self, **health: Any) -> PlatformSettings:
        """Of a stack that pulls its health service's image from here."""
        images = {"registry": self.registry, "signers": str(self.signers)}
        return PlatformSettings.model_validate({"images": images, "health": {"image": {"source": "pull", **health}}})


@pytest.fixture
def site(server: Registry, ssh_keygen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = make_key(tmp_path / "key")
    return Site(registry=f"{server.host}/team", key=key, signers=allow(key))


class TestArtifact:
    def test_is_what_was_put_under_each_of_its_tags(self, server):
        push_artifact(f"{server.host}/a/b", ("1", "2"), KIND, {"x": b"text", "y": b""})
        assert fetch_artifact(f"{server.host}/a/b", "1", KIND) == {"x": b"text", "y": b""}
        assert set(tags(f"{server.host}/a/b")) == {"1", "2"}

    def test_that_is_missing_is_its_own_error(self, server):
        for ask in (lambda: fetch_artifact(f"{server.host}/a/b", "1", KIND), lambda: tags(f"{server.host}/a/b")):
            with pytest.raises(MissingError, match="push it first"):
                ask()

    def test_is_put_with_the_login_of_docker(self, docker_registry, tmp_path, monkeypatch):
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        for registry in serve(docker_registry, tmp_path, login=True):
            login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            auths = {registry.host: {"auth": login}}
            (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
            push_artifact(f"{registry.host}/a/b", ("1",), KIND, {"x": b"text"})
            assert fetch_artifact(f"{registry.host}/a/b", "1", KIND) == {"x": b"text"}


class TestLists:
    def test_of_all_runs_count_also_of_parts_and_of_two_at_once(self, site):
        first, second, third = site.image(0), site.image(1, "redis"), site.image(2, "queue")
        site.put(0, first)
        site.put(2, third)
        site.put(1, second)  # begun before the other, and `latest` after it
        assert site.look(first, second, third).images >= {one.by_digest for one in (first, second, third)}

    def test_are_read_no_further_than_necessary(self, site):
        site.put(0, site.image(0))
        site.put(1, site.image(1))
        assert len(site.look(site.image(1)).lists) == 1

    def test_another_digest_does_not_count(self, site):
        site.put(0, site.image(0))
        assert site.image(1).by_digest not in site.look(site.image(1)).images

    def test_the_newest_says_what_a_name_means(self, site):
        site.put(0, site.image(0))
        site.put(1, site.image(1))
        assert site.look(site.image(2)).named(f"{site.registry}/health:1") == site.image(1)

    @pytest.mark.parametrize(
        ("how", "reason"),
        [
            ({"changed": b" "}, "does not have a signature of its content"),
            ({"registry": "elsewhere.test/team"}, "is a list for elsewhere.test/team, not for"),
        ],
    )
    def test_that_were_changed_or_are_of_another_registry_do_not_count(self, site, how, reason):
        site.put(0, site.image(0), **how)
        found = site.look(site.image(0))
        assert not found.images
        assert reason in found.refused[0]

    def test_of_somebody_else_do_not_count_and_hide_none(self, site, tmp_path):
        site.put(0, site.image(0))
        site.put(1, site.image(1), key=make_key(tmp_path / "stranger"))
        found = site.look(site.image(0))
        assert found.images == {site.image(0).by_digest}
        assert "does not allow" in found.refused[0]

    def test_something_else_under_that_name_hides_none(self, site):
        site.put(0, site.image(0))
        push_artifact(place(site.registry), (LATEST, RUNS[2]), "text/other", {"x": b""})
        push_artifact(place(site.registry), (RUNS[1],), KIND, {LIST: b"text"})
        assert site.image(0).by_digest in site.look(site.image(0)).images

    def test_can_be_fetched_by_people(self, site, server):
        site.put(0, site.image(0))
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        url = f"http://{server.host}/v2/team/signed-images"
        manifest = requests.get(f"{url}/manifests/latest", headers=accept, timeout=10).json()
        (blob,) = [one["digest"] for one in manifest["layers"] if LIST in one["annotations"].values()]
        assert DIGESTS[0] in requests.get(f"{url}/blobs/{blob}", timeout=10).text


class TestStackThatAsksForSignatures:
    def test_gets_a_signed_image(self, site):
        site.put(0, site.image(0))
        signatures.check(site.settings(reference=site.image(0).by_digest), "Pulumi.x.yaml")

    def test_is_told_the_digest_of_a_signed_tag(self, site):
        site.put(0, site.image(0))
        said = refusal(site.settings(reference=site.image(0).reference))
        assert "cslr:platform.health.image.reference: " in said
        assert "is named by a tag" in said
        assert f"ws set health.image.reference {site.image(0).by_digest} -s x" in said

    @pytest.mark.parametrize("named", ["by_digest", "reference"])
    def test_gets_no_other(self, site, named):
        site.put(0, site.image(0, "redis"))
        said = refusal(site.settings(reference=getattr(site.image(1), named)))
        assert "is in no signed list" in said
        assert "cslr:platform.health.image.reference" in said

    def test_gets_none_where_the_registry_has_no_list(self, site):
        assert "is in no signed list" in refusal(site.settings(reference=site.image(0).by_digest))

    def test_is_told_why_the_newest_list_does_not_count(self, site):
        site.put(0, site.image(0), changed=b"x")
        assert "does not have a signature of its content" in refusal(site.settings(reference=site.image(0).by_digest))

    def test_is_told_that_the_registry_does_not_answer(self, site):
        site.registry = "localhost:1/team"
        said = refusal(site.settings(reference=site.image(0).by_digest))
        assert "cslr:platform.images.signers: the signed lists" in said
        assert "does not answer" in said

    def test_is_told_that_the_file_of_signers_is_missing(self, site):
        site.signers.unlink()
        assert "there is no file" in refusal(site.settings(reference=site.image(0).by_digest))

    def test_is_told_so_of_a_file_in_a_home_that_is_not_here(self, site):
        site.signers = Path("~nobody-of-that-name/signers")
        assert "there is no file" in refusal(site.settings(reference=site.image(0).by_digest))

    def test_pulls_from_elsewhere_as_before(self, site):
        site.registry = "localhost:1/team"
        signatures.check(site.settings(reference="elsewhere.test/health:1"), "Pulumi.x.yaml")


@pytest.mark.parametrize(
    ("registry", "reference", "checked"),
    [
        ("r.test:5000/team", "r.test:5000/team/health:1", "r.test:5000/team/health:1"),
        ("r.test:5000/team", "r.test:5000/team/a/b", "r.test:5000/team/a/b:latest"),
        ("r.test:5000/team", f"r.test:5000/team/a:1@{DIGESTS[0]}", f"r.test:5000/team/a:1@{DIGESTS[0]}"),
        ("docker.io/team", "team/health:1", "docker.io/team/health:1"),
        ("team", "docker.io/team/health:1", "team/health:1"),
        ("team", "index.docker.io/team/health:1", "team/health:1"),
        ("r.test/team", "r.test/teamwork/health:1", None),
        ("r.test/team", "r.test:443/team/health:1", None),
        ("docker.io/team", "health:1", None),
    ],
)
def test_an_image_is_of_the_registry_however_docker_lets_it_be_spelt(registry, reference, checked):
    images = {"registry": registry, "signers": "signers"}
    health = {"image": {"source": "pull", "reference": reference}}
    found = signatures.pulled(PlatformSettings.model_validate({"images": images, "health": health}))
    assert list(found.values()) == [checked] * (checked is not None)


def refusal(settings: PlatformSettings) -> str:
    with pytest.raises(SettingsError) as caught:
        signatures.check(settings, "Pulumi.x.yaml")
    return str(caught.value)
