"""Base images: the name follows from the recipe, the site's authorities get in, and the host's old ones do not."""

import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
from pathlib import Path
from typing import cast

import docker
import pytest

from images.base import bootstrap, recipe
from images.base.recipe import PLATFORMS, SOURCES, SUITES, base_tag

MIRROR = "http://mirror.test/debian"


def certificate(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch) -> Path:
    """A Debian host with authorities A and B from its distribution and none of its own."""
    for name in ("distributed", "anchors"):
        (tmp_path / name).mkdir()
    (tmp_path / "distributed/a.crt").write_text(certificate("A"))
    (tmp_path / "distributed/b.crt").write_text(certificate("B"))
    (tmp_path / "bundle.crt").write_text(certificate("A") + certificate("B"))
    monkeypatch.setattr(recipe, "DISTRIBUTED", (tmp_path / "distributed",))
    monkeypatch.setattr(recipe, "ANCHORS", (tmp_path / "anchors", tmp_path / "absent"))
    monkeypatch.setattr(recipe, "BUNDLES", (tmp_path / "bundle.crt",))
    return tmp_path


class TestSiteCertificates:
    def test_distributions_own_authorities_stay_out(self, host):
        """An older host must not bring back an authority that was distrusted since."""
        assert recipe.site_certificates() == {}

    def test_anchor_gets_in(self, host):
        (host / "anchors/site.crt").write_text(certificate("SITE"))
        assert list(recipe.site_certificates().values()) == [certificate("SITE")]

    def test_authority_only_in_the_bundle_gets_in(self, host):
        with (host / "bundle.crt").open("a") as bundle:
            bundle.write(certificate("SITE"))
        assert list(recipe.site_certificates().values()) == [certificate("SITE")]

    def test_same_authority_in_two_places_gets_in_once(self, host):
        (host / "anchors/site.crt").write_text(certificate("SITE").replace("\n", "\r\n"))
        with (host / "bundle.crt").open("a") as bundle:
            bundle.write(certificate("SITE"))
        assert len(recipe.site_certificates()) == 1

    def test_bundle_counts_only_beside_the_distributions_list(self, host, monkeypatch):
        """Without that list nothing tells the site's authorities in the bundle from the others."""
        monkeypatch.setattr(recipe, "DISTRIBUTED", ())
        assert recipe.site_certificates() == {}


class TestTag:
    def test_same_recipe_has_the_same_name(self, host):
        assert base_tag("forky", "bootstrap") == base_tag("forky", "bootstrap")

    def test_whatever_goes_in_changes_the_name(self, host):
        names = {base_tag(suite, source, mirror) for suite in SUITES for source in SOURCES for mirror in (None, MIRROR)}
        (host / "anchors/site.crt").write_text(certificate("SITE"))
        names.add(base_tag("forky", "bootstrap"))
        assert len(names) == len(SUITES) * len(SOURCES) * 2 + 1

    def test_platform_shows_where_it_is_not_the_usual_one(self, host):
        usual = base_tag("forky", "bootstrap")
        assert [base_tag("forky", "bootstrap", None, platform) for platform in PLATFORMS] == [usual, f"{usual}-arm64"]

    def test_another_edition_is_another_base_and_none_changes_nothing(self, host):
        plain = base_tag("forky", "bootstrap")
        editions = {base_tag("forky", "bootstrap", edition=day) for day in ("2026-10-27", "2026-11-27")}
        assert len(editions | {plain}) == 3
        assert base_tag("forky", "bootstrap", edition="") == plain

    def test_recipe_holds_the_files_that_decide(self):
        names = {path.name for path in recipe.recipe_files()}
        assert {"Dockerfile", "bootstrap.py", "policy-rc.d"} <= names


class TestAptSources:
    @pytest.fixture
    def mirror(self, monkeypatch):
        """Release files of a mirror, by URL; a test fills it."""
        files: dict[str, str] = {}
        monkeypatch.setattr(bootstrap, "_release_file", files.get)
        return files

    def test_security_suite_where_the_mirror_carries_it(self, mirror):
        mirror[f"{MIRROR}-security/dists/trixie-security/InRelease"] = "Suite: stable-security"
        assert bootstrap.apt_sources("trixie", MIRROR).splitlines() == [
            f"deb {MIRROR} trixie main",
            f"deb {MIRROR}-security trixie-security main",
        ]

    def test_release_is_kept_when_its_file_cannot_be_read(self, mirror):
        assert bootstrap.apt_sources("trixie", MIRROR) == f"deb {MIRROR} trixie main\n"

    def test_expiry_is_ignored_only_where_the_mirror_stands_still(self, mirror):
        mirror[f"{MIRROR}/dists/forky/InRelease"] = "Valid-Until: Sat, 07 Nov 2020 08:12:32 UTC"
        mirror[f"{MIRROR}/dists/forky-updates/InRelease"] = "Valid-Until: Sat, 07 Nov 2099 08:12:32 UTC"
        assert bootstrap.apt_sources("forky", MIRROR).splitlines() == [
            f"deb [check-valid-until=no] {MIRROR} forky main",
            f"deb {MIRROR} forky-updates main",
        ]


class TestRefusal:
    @pytest.fixture
    def engine(self, monkeypatch):
        """An Engine that has no image."""
        monkeypatch.setattr(bootstrap, "_exists", lambda *_: False)
        monkeypatch.setattr(docker, "APIClient", lambda **_: None)

    def test_not_root(self, engine, monkeypatch, capsys):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert bootstrap.main(["--suite", "forky", "--source", "bootstrap", "--tag", "x:1"]) == 1
        assert "as root" in capsys.readouterr().err

    def test_debootstrap_missing(self, engine, monkeypatch, capsys, tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(bootstrap, "WORK", tmp_path)
        monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
        assert bootstrap.main(["--suite", "forky", "--source", "bootstrap", "--tag", "x:1"]) == 1
        assert "apt-get install debootstrap" in capsys.readouterr().err

    def test_debians_keys_missing(self, engine, monkeypatch, capsys, tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(bootstrap, "WORK", tmp_path)
        monkeypatch.setattr(bootstrap, "DEBIAN_KEYS", tmp_path / "absent.gpg")
        monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/sbin/debootstrap")
        assert bootstrap.main(["--suite", "forky", "--source", "bootstrap", "--tag", "x:1"]) == 1
        assert "apt-get install debian-archive-keyring" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("mounted", "said"), [(True, "binfmt-support\n"), (False, "before it: mount -t binfmt_misc")]
    )
    def test_no_emulator_for_another_processor(self, engine, monkeypatch, capsys, tmp_path, mounted, said):
        monkeypatch.setattr(bootstrap, "BINFMT", tmp_path)
        if mounted:
            (tmp_path / "status").write_text("enabled\n")
            (tmp_path / "qemu-aarch64").write_text("disabled\n")
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        arguments = ["--suite", "forky", "--source", "bootstrap", "--tag", "x:1", "--platform", "linux/arm64"]
        assert bootstrap.main(arguments) == 1
        answer = capsys.readouterr().err
        assert "does not run programs of linux/arm64" in answer
        assert "apt-get install qemu-user-static" in answer
        assert said in answer

    def test_no_emulator_on_dockers_host(self):
        with pytest.raises(bootstrap.BaseImageError, match="apt-get install qemu-user-static"):
            bootstrap._refuse_errors([{"stream": "Step 1"}, {"error": "exec /bin/sh: exec format error"}])

    def test_existing_image_is_left_alone(self, engine, monkeypatch, capsys):
        monkeypatch.setattr(bootstrap, "_exists", lambda *_: True)
        assert bootstrap.main(["--suite", "forky", "--source", "bootstrap", "--tag", "x:1"]) == 0
        assert "x:1 exists" in capsys.readouterr().out


class TestRootFileSystem:
    """A folder becomes an image of the platform that it is for, whatever the Engine's own is."""

    def test_is_loaded_for_its_platform(self, tmp_path):
        class Engine:
            def load_image(self, content):
                self.files = {}
                with tarfile.open(fileobj=io.BytesIO(content.read())) as tar:
                    for entry in tar:
                        file = tar.extractfile(entry)
                        assert file
                        self.files[entry.name] = file.read()
                return [{"stream": f"Loaded image ID: sha256:{'1' * 64}\n"}]

        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "file").write_text("content")
        engine = Engine()
        wanted = bootstrap._Rootfs("", "trixie", "bootstrap", "linux/arm64")
        loaded = bootstrap._load(cast(docker.APIClient, engine), tmp_path / "root", tmp_path, wanted)
        assert loaded == bootstrap._Rootfs(f"sha256:{'1' * 64}", "trixie", "bootstrap", "linux/arm64")
        (manifest,) = json.loads(engine.files["manifest.json"])
        config = json.loads(engine.files[manifest["Config"]])
        layer = engine.files[manifest["Layers"][0]]
        assert config["architecture"] == "arm64"
        assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            assert "./file" in tar.getnames()
