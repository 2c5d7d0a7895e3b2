"""A site's certificate and key as people have them: what no server could use is one error, before anything changes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from config.load import load
from config.problems import SettingsError
from coordination.regular_file import LARGEST
from stack.certificates import Pair
from stack.tls import load_site

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
OPEN = serialization.NoEncryption()
ENCRYPTED = serialization.BestAvailableEncryption(b"passphrase")
RSA, SMALL_RSA = (rsa.generate_private_key(65537, bits) for bits in (2048, 1024))
EC, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())


@dataclass(frozen=True, kw_only=True)
class Files:
    """What the two files hold."""

    certificate: bytes
    key: bytes


def signed(
    key: PrivateKeyTypes,
    *,
    by: PrivateKeyTypes | None = None,
    name: str = "gpuhost",
    issuer: str = "site",
    used: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008 (it is immutable)
    begin: timedelta = timedelta(days=-1),
    end: timedelta = timedelta(days=90),
) -> x509.Certificate:
    subject, above = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(1)
        .not_valid_before(NOW + begin)
        .not_valid_after(NOW + end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("gpuhost")]), critical=False)
    )
    return builder.sign(by or EC, used)  # type: ignore[arg-type]


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(PEM) for one in certificates)


def private(key: PrivateKeyTypes, encryption: serialization.KeySerializationEncryption = OPEN) -> bytes:
    return key.private_bytes(PEM, PKCS8, encryption)


def files(key: PrivateKeyTypes, **how: object) -> Files:
    return Files(certificate=pem(signed(key, **how)), key=private(key))  # type: ignore[arg-type]


def sha1_instead(certificate: x509.Certificate) -> x509.Certificate:
    """The same, and says that it is signed with SHA-1 and RSA; the library makes none."""
    sha256, sha1 = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01" + kind for kind in (b"\x0b", b"\x05"))
    return x509.load_der_x509_certificate(certificate.public_bytes(DER).replace(sha256, sha1))


GOOD = files(RSA)
AUTHORITY = signed(EC, name="site", end=timedelta(days=900))
LEAF = signed(RSA)
SECP256K1, P521 = (ec.generate_private_key(curve) for curve in (ec.SECP256K1(), ec.SECP521R1()))
NAMES = {"certificate": "cert.pem", "key": "key.pem"}


def load_files(folder: Path, found: Files) -> Pair:
    write(folder, found)
    return loaded(folder)


def write(folder: Path, found: Files) -> None:
    (folder / "cert.pem").write_bytes(found.certificate)
    (folder / "key.pem").write_bytes(found.key)


def loaded(folder: Path) -> Pair:
    tls = {"source": "files", "certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    settings = load({"tls": tls, "network": {"names": ["gpuhost"]}}, stack_file="Pulumi.dev.yaml")
    site = load_site(settings, stack_file="Pulumi.dev.yaml", key="cslr:platform", now=NOW)
    assert site
    return site


def refusal(folder: Path, key: str, reason: str) -> str:
    """The error's text, which names the key, the file, and a way out."""
    with pytest.raises(SettingsError) as caught:
        loaded(folder)
    text = str(caught.value)
    assert f"Pulumi.dev.yaml: cslr:platform.tls.{key}: {folder / NAMES[key]} {reason}" in text, text
    assert f"tls.{key}" in text.split("\n", 1)[1]
    assert "-----BEGIN PRIVATE" not in text
    assert len(caught.value.problems) == 1
    return text


@pytest.mark.parametrize(
    ("found", "key", "reason"),
    [
        pytest.param(files(SMALL_RSA), "certificate", "has an RSA key of 1024 bits", id="small RSA"),
        pytest.param(
            Files(certificate=pem(LEAF, signed(SMALL_RSA, name="site")), key=GOOD.key),
            "certificate",
            "is in the wrong order",
            id="authority that did not sign",
        ),
        pytest.param(
            Files(
                certificate=pem(signed(RSA, by=SMALL_RSA), signed(SMALL_RSA, by=SMALL_RSA, name="site")), key=GOOD.key
            ),
            "certificate",
            "has an RSA key of 1024 bits, and 2048 are the least: CN=site",
            id="small RSA of the authority",
        ),
        pytest.param(
            files(ec.generate_private_key(ec.SECP192R1())),
            "certificate",
            "has a key on the curve secp192r1",
            id="P-192",
        ),
        pytest.param(files(SECP256K1), "certificate", "has a key on the curve secp256k1", id="secp256k1"),
        pytest.param(
            files(ed25519.Ed25519PrivateKey.generate()), "certificate", "has a key that is neither RSA", id="Ed25519"
        ),
        pytest.param(files(dsa.generate_private_key(2048)), "certificate", "has a key that is neither RSA", id="DSA"),
        pytest.param(
            Files(certificate=pem(sha1_instead(signed(RSA, by=RSA))), key=GOOD.key),
            "certificate",
            "is signed with SHA1",
            id="SHA-1",
        ),
        pytest.param(files(RSA, end=timedelta(seconds=0)), "certificate", "has expired on 2026-11-29", id="expired"),
        pytest.param(
            Files(certificate=pem(LEAF, signed(EC, name="site", end=timedelta(hours=-1))), key=GOOD.key),
            "certificate",
            "has expired on 2026-11-28: CN=site",
            id="expired authority",
        ),
        pytest.param(
            files(RSA, begin=timedelta(days=1)),
            "certificate",
            "is valid from 2026-11-30 00:00 UTC only",
            id="too early",
        ),
        pytest.param(Files(certificate=GOOD.certificate, key=private(OTHER)), "key", "is not the key", id="other key"),
        pytest.param(
            Files(certificate=pem(AUTHORITY, LEAF), key=GOOD.key), "certificate", "is in the wrong order", id="order"
        ),
        pytest.param(Files(certificate=b"", key=GOOD.key), "certificate", "is empty", id="empty certificate"),
        pytest.param(Files(certificate=GOOD.certificate, key=b"\n"), "key", "is empty", id="empty key"),
        pytest.param(
            Files(certificate=GOOD.certificate, key=private(RSA, ENCRYPTED)), "key", "has a passphrase", id="passphrase"
        ),
        pytest.param(
            Files(
                certificate=GOOD.certificate,
                key=RSA.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, ENCRYPTED),
            ),
            "key",
            "has a passphrase",
            id="passphrase of OpenSSL's former form",
        ),
        pytest.param(Files(certificate=GOOD.key, key=GOOD.key), "certificate", "holds no certificate", id="two keys"),
        pytest.param(
            Files(certificate=GOOD.certificate, key=GOOD.certificate), "key", "holds no private key", id="no key"
        ),
        pytest.param(
            Files(certificate=GOOD.certificate[:200] + GOOD.certificate[220:], key=GOOD.key),
            "certificate",
            "holds a certificate that cannot be read",
            id="damaged certificate",
        ),
        pytest.param(
            Files(certificate=GOOD.certificate, key=GOOD.key[:200] + GOOD.key[220:]),
            "key",
            "holds no private key",
            id="damaged key",
        ),
        pytest.param(
            Files(certificate=GOOD.certificate[:-30], key=GOOD.key),
            "certificate",
            "holds a certificate that cannot be read",
            id="truncated certificate",
        ),
        pytest.param(
            Files(certificate=LEAF.public_bytes(DER), key=GOOD.key), "certificate", "is not PEM", id="DER certificate"
        ),
        pytest.param(
            Files(certificate=GOOD.certificate, key=RSA.private_bytes(DER, PKCS8, OPEN)),
            "key",
            "is not PEM",
            id="DER key",
        ),
        pytest.param(
            Files(certificate=GOOD.certificate.decode().encode("utf-16"), key=GOOD.key),
            "certificate",
            "is not PEM, which is text",
            id="UTF-16",
        ),
        pytest.param(
            Files(certificate=b"\0" * (LARGEST + 1), key=GOOD.key),
            "certificate",
            "cannot be read: larger than",
            id="huge",
        ),
    ],
)
def test_what_no_server_could_use_is_one_error(tmp_path, found, key, reason):
    write(tmp_path, found)
    refusal(tmp_path, key, reason)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "cannot be read: No such file"),
        (Path.mkdir, "cannot be read: not a regular file"),
        (os.mkfifo, "cannot be read: not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read: not a regular file"),
    ],
    ids=["missing", "folder", "FIFO", "link to itself", "device"],
)
@pytest.mark.parametrize("key", ["certificate", "key"])
def test_what_is_no_file_is_one_error(tmp_path, make: Callable[[Path], None], reason, key):
    for one, content in (("certificate", GOOD.certificate), ("key", GOOD.key)):
        if one == key:
            make(tmp_path / NAMES[one])
        else:
            (tmp_path / NAMES[one]).write_bytes(content)
    refusal(tmp_path, key, reason)


def test_the_remedy_converts_der(tmp_path):
    write(tmp_path, Files(certificate=LEAF.public_bytes(DER), key=GOOD.key))
    text = refusal(tmp_path, "certificate", "is not PEM")
    assert f"openssl x509 -inform DER -in {tmp_path}/cert.pem" in text


@pytest.mark.parametrize("key", [RSA, EC, OTHER, P521], ids=["RSA", "P-256", "P-384", "P-521"])
def test_strong_keys_are_taken(tmp_path, key):
    assert load_files(tmp_path, files(key)).certificate.public_key() == key.public_key()


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
        lambda text: b"Bag Attributes\n    friendlyName: gpuhost\n" + text,
        bytes.rstrip,
    ],
    ids=["Windows line ends", "byte order mark", "both", "words before", "no line end"],
)
def test_files_of_other_programs_are_served_as_plain_pem(tmp_path, edit):
    """OpenSSL, and so nginx, does not skip a byte order mark."""
    found = Files(certificate=edit(pem(LEAF, AUTHORITY)), key=edit(GOOD.key))
    site = load_files(tmp_path, found)
    assert (site.chain, site.key) == (pem(LEAF, AUTHORITY), GOOD.key)


def test_an_authority_may_have_signed_itself_with_sha1(tmp_path):
    """Nobody verifies that signature: an old authority that clients know is no reason to refuse."""
    authority = sha1_instead(signed(RSA, by=RSA, name="site"))
    assert load_files(tmp_path, Files(certificate=pem(signed(EC, by=RSA), authority), key=private(EC)))


def test_control_characters_of_a_name_are_not_printed(tmp_path):
    write(tmp_path, files(RSA, name="\x1b[31mred", end=timedelta(hours=-1)))
    assert "\x1b" not in refusal(tmp_path, "certificate", "has expired")
