"""stack/ray_tls.py: the certificate of Ray's processes, kept and renewed, and those of Ray Clients elsewhere."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from config.load import load
from contracts.facts import CERTIFICATES
from contracts.ray_tls import AUTHORITY, CERTIFICATE, FILES, KEY
from stack import facts
from stack.certificates import Pair, check, names_of
from stack.identity import StackIdentity
from stack.ray_tls import FOLDER, RayCertificate, client_certificate, names_for, ray_certificate
from stack.secrets import RAY_AUTHORITY, SecretFiles
from stack.state import HostFiles

NOW = datetime(2026, 11, 29, tzinfo=UTC)
IDENTITY = StackIdentity(project="cslr", stack="dev")
SETTINGS = load({"ray": {"tls": True}, "network": {"names": ["GPU.example.org:8443"]}}, stack_file="f")
NAMES = ("ray-cpu", "10.0.0.10", "localhost")
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@pytest.fixture
def secrets(tmp_path) -> SecretFiles:
    values = {RAY_AUTHORITY: "one-secret-of-256-bits"}
    return SecretFiles(files=HostFiles(folder=tmp_path, dry_run=False), values=values)


def made(secrets: SecretFiles, names: tuple[str, ...] = NAMES, *, days: float = 0) -> RayCertificate:
    found = ray_certificate(SETTINGS, secrets, IDENTITY, names=names, now=NOW + timedelta(days=days))
    assert found
    return found


def another(secrets: SecretFiles) -> SecretFiles:
    return replace(secrets, values={RAY_AUTHORITY: "another-secret"})


def usages(one: RayCertificate) -> set[x509.ObjectIdentifier]:
    return set(one.pair.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def signed(one: RayCertificate, authority: RayCertificate) -> None:
    one.pair.certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.authority))


def test_is_for_both_ends_of_a_connection_and_for_all_names(secrets):
    found = made(secrets)
    assert usages(found) == {SERVER, CLIENT}
    assert names_of(found.pair.certificate) == set(NAMES)
    signed(found, found)
    check(found.pair, (), NOW)
    assert tuple(found.files) == FILES


def test_is_kept_until_it_is_due_in_nine_years(secrets):
    first = made(secrets)
    assert made(secrets, days=3250).files == first.files
    later = made(secrets, days=3254)
    assert later.files != first.files
    # So that processes from before and after the renewal talk to each other.
    signed(later, first)
    signed(first, later)


def test_is_another_one_for_a_new_name_and_the_same_for_fewer(secrets):
    first = made(secrets)
    assert made(secrets, NAMES[:1]).files == first.files
    assert made(secrets, (*NAMES, "10.0.0.99")).files != first.files


def test_another_secret_is_another_authority(secrets):
    first, second = made(secrets), made(another(secrets))
    with pytest.raises(InvalidSignature):
        signed(second, first)
    assert made(another(secrets)).files == second.files


def test_a_client_elsewhere_is_let_in_and_can_be_no_server(secrets):
    client = client_certificate(secrets, IDENTITY, NOW)
    signed(client, made(secrets))
    assert usages(client) == {CLIENT}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [None, b"", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_what_is_lost_or_damaged_is_made_again(secrets, tmp_path, name, damage):
    made(secrets)
    file: Path = tmp_path / FOLDER / name
    file.unlink() if damage is None else file.write_bytes(damage)
    found = made(secrets)
    check(found.pair, (), NOW)
    assert {name: (tmp_path / FOLDER / name).read_text() for name in FILES} == found.files


def test_a_clock_that_is_behind_ends_no_trust(secrets):
    first = made(secrets)
    assert made(secrets, days=-2).files == first.files
    assert made(secrets, (*NAMES, "new"), days=-20_000).pair.expires >= NOW + timedelta(days=3649)


def test_the_key_is_closed_to_others_and_that_of_the_authority_is_nowhere(secrets, tmp_path):
    found = made(secrets)
    assert (tmp_path / FOLDER / KEY).stat().st_mode & 0o077 == 0
    assert "PRIVATE" not in repr(found)
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert sum(b"PRIVATE KEY" in content for content in files) == 1
    with pytest.raises(ValueError, match="is not the key"):
        check(Pair(chain=(tmp_path / FOLDER / AUTHORITY).read_bytes(), key=found.pair.key), (), NOW)


def test_a_preview_writes_nothing(secrets, tmp_path):
    preview = replace(secrets, files=HostFiles(folder=tmp_path, dry_run=True))
    assert made(preview).files[CERTIFICATE]
    assert list(tmp_path.iterdir()) == []
    assert made(secrets).files == made(preview).files


def test_health_knows_when_it_ends_and_forgets_it_without_tls(secrets, tmp_path):
    file = tmp_path / facts.FOLDER / f"{CERTIFICATES}.json"
    off = load({}, stack_file="f")
    assert ray_certificate(off, secrets, IDENTITY, names=NAMES) is None
    assert not file.exists()
    facts.certificate(tmp_path, "site", 1.5)
    expires = made(secrets).pair.expires.timestamp()
    assert file.read_text() == f'{{"times": {{"site": 1.5, "ray": {expires}}}}}'
    ray_certificate(off, secrets, IDENTITY, names=NAMES)
    assert file.read_text() == '{"times": {"site": 1.5}}'


def test_names_are_those_that_nodes_and_clients_connect_to():
    inside = ("ray-cpu", "ray-gpu", "10.0.0.10", "localhost", "127.0.0.1", "gpu.example.org")
    assert names_for(SETTINGS, ("10.0.0.10",), ("192.0.2.7",)) == inside
    opened = load({"ray": {"tls": True}, "network": {"bind_address": "0.0.0.0"}}, stack_file="f")
    assert names_for(opened, (), ("192.0.2.7",))[-1] == "192.0.2.7"
