"""stack/tls.py: the files of a stack's certificate, kept and renewed, and those of a site."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.load import load
from config.platform import PlatformSettings
from config.problems import SettingsError
from stack.certificates import Pair, issue, make_authority
from stack.identity import StackIdentity
from stack.state import HostFiles
from stack.tls import authority_file, load_site, names_for, own_authority, served_folder, trusted_file
from stack.trust import certificate_alone

NOW = datetime(2026, 11, 28, tzinfo=UTC)
IDENTITY = StackIdentity(project="cslr", stack="dev")
SETTINGS = load({"tls": {"source": "generated"}, "network": {"names": ["GPU.example.org:8443"]}}, stack_file="f")


def served(folder: Path, names: tuple[str, ...] = ("localhost",), *, days: int = 0, dry_run: bool = False) -> Path:
    files = HostFiles(folder=folder, dry_run=dry_run)
    found = served_folder(SETTINGS, files, IDENTITY, site=None, names=names, now=NOW + timedelta(days=days))
    return Path(found) / "server.pem"


def test_is_kept_until_it_is_due(tmp_path):
    first = served(tmp_path).read_bytes()
    authority = authority_file(tmp_path).read_bytes()
    assert served(tmp_path, days=300).read_bytes() == first
    assert served(tmp_path, days=380).read_bytes() != first
    assert served(tmp_path, ("localhost", "new")).read_bytes() != first
    assert authority_file(tmp_path).read_bytes() == authority == trusted_file(tmp_path).read_bytes()
    assert b'"tls"' in (tmp_path / "facts/certificates.json").read_bytes()


def test_keys_are_closed_to_others(tmp_path):
    folder = tmp_path / "stack"
    served(folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "tls/authority.key").stat().st_mode & 0o077 == 0


def test_a_damaged_authority_is_made_again(tmp_path):
    served(tmp_path)
    authority_file(tmp_path).write_text("text")
    served(tmp_path)
    certificate_alone(str(trusted_file(tmp_path)))


def test_a_clock_that_is_behind_ends_no_trust(tmp_path):
    served(tmp_path)
    authority = authority_file(tmp_path).read_bytes()
    served(tmp_path, days=-2)
    assert authority_file(tmp_path).read_bytes() == authority


class TestWrongClock:
    """Days are counted from when the authority was made."""

    YEARS_BEHIND = -20 * 365

    def test_that_is_behind_keeps_the_certificate(self, tmp_path):
        served(tmp_path)
        first = served(tmp_path, days=345).read_bytes()
        assert served(tmp_path, days=self.YEARS_BEHIND).read_bytes() == first

    def test_that_is_behind_issues_one_that_has_not_expired(self, tmp_path):
        served(tmp_path)
        text = served(tmp_path, ("localhost", "new"), days=self.YEARS_BEHIND).read_bytes()
        assert Pair(chain=text, key=b"").expires > NOW + timedelta(days=390)

    def test_that_was_ahead_leaves_no_certificate_of_the_future(self, tmp_path):
        served(tmp_path)
        ahead = served(tmp_path, days=1000).read_bytes()
        text = served(tmp_path, days=1).read_bytes()
        assert text != ahead
        assert Pair(chain=text, key=b"").certificate.not_valid_before_utc < NOW + timedelta(days=1)


def test_a_preview_writes_nothing(tmp_path):
    assert served(tmp_path / "stack", dry_run=True).parent.name == "tls-served"
    assert not (tmp_path / "stack").exists()


def test_names_are_those_that_people_use():
    found = names_for(SETTINGS, "Host", ("192.0.2.1",))
    assert found == ("gpu.example.org", "host", "localhost", "127.0.0.1")
    everywhere = load({"tls": {"source": "generated"}, "network": {"bind_address": "0.0.0.0"}}, stack_file="f")
    assert "192.0.2.1" in names_for(everywhere, "", ("192.0.2.1",))


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class TestSite:
    @staticmethod
    def settings(folder: Path) -> PlatformSettings:
        tls = {"source": "files", "certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
        return load({"tls": tls}, stack_file="f")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        pair = issue(make_authority("site", NOW), ("localhost",), NOW)
        (tmp_path / "cert.pem").write_bytes(pair.chain)
        (tmp_path / "key.pem").write_bytes(pair.key)
        return tmp_path

    def test_is_served_as_it_is(self, folder):
        settings = self.settings(folder)
        site = load_site(settings, stack_file="f", key="k", now=NOW)
        assert site
        files = HostFiles(folder=folder / "state", dry_run=False)
        path = served_folder(settings, files, IDENTITY, site=site, names=(), now=NOW)
        text = Path(path, "server.pem").read_bytes()
        assert text == (folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes()
        context = certificate_alone(str(trusted_file(folder / "state")))
        assert context.verify_mode is ssl.CERT_REQUIRED

    def test_former_authority_is_no_longer_to_be_trusted(self, folder):
        served(folder / "state")
        assert own_authority(folder / "state") == authority_file(folder / "state")
        site = load_site(self.settings(folder), stack_file="f", key="k", now=NOW)
        files = HostFiles(folder=folder / "state", dry_run=False)
        served_folder(self.settings(folder), files, IDENTITY, site=site, names=(), now=NOW)
        assert own_authority(folder / "state") is None

    def test_a_key_in_the_file_of_the_certificate_is_not_handed_on(self, folder):
        certificate = folder / "cert.pem"
        certificate.write_bytes(certificate.read_bytes() + (folder / "key.pem").read_bytes())
        site = load_site(self.settings(folder), stack_file="f", key="k", now=NOW)
        assert site
        assert b"PRIVATE KEY" not in site.chain

    @pytest.mark.parametrize("make", [Path.unlink, pipe_instead])
    def test_what_is_no_file_is_refused(self, folder, make):
        make(folder / "key.pem")
        with pytest.raises(SettingsError, match=r"f: k\.tls\.key: .*key\.pem cannot be read: (?s:.*)Name a file"):
            load_site(self.settings(folder), stack_file="f", key="k", now=NOW)

    def test_an_expired_one_is_refused(self, folder):
        with pytest.raises(SettingsError, match=r"k\.tls\.certificate: .*cert\.pem has expired"):
            load_site(self.settings(folder), stack_file="f", key="k", now=NOW + timedelta(days=400))


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        ({"source": "files"}, r"tls\.certificate: is missing(?s:.*)tls\.key: is missing"),
        ({"source": "generated", "key": "/k"}, r"tls\.key: /k would be ignored"),
        ({"source": "other"}, r"tls\.source"),
    ],
)
def test_keys_that_do_not_fit_are_refused(tls, reason):
    with pytest.raises(SettingsError, match=reason):
        load({"tls": tls}, stack_file="f")


def test_is_off_by_default_and_can_be_switched_off():
    assert not load({}, stack_file="f").tls.enabled
    assert not load({"tls": {"source": "generated", "enabled": False}}, stack_file="f").tls.enabled
    assert load({"tls": {"source": "generated"}}, stack_file="f").tls.enabled
