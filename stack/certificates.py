"""Certificates: those that a stack makes for its web services and for Ray, and what is wrong with those of a site.

Values only: no file, no clock.
"""

import hashlib
import hmac
import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes, PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, PublicKeyAlgorithmOID

AUTHORITY_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=397)  # browsers refuse longer ones of public authorities, some of any
RENEWED_BEFORE = timedelta(days=60)  # `ws up` may be long in coming
BEGIN = timedelta(hours=1)  # clocks of clients that are slow
OWN_NAMES = ("localhost", "127.0.0.1")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-5, of secp256r1
# What TLS clients take today, and OpenSSL at the level of security that Debian's nginx runs with.
SMALLEST_RSA = 2048  # bits
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
WEAK_HASHES = frozenset({"md5", "sha1", "sha224"})
NEW_KEY = "Get a certificate for a new key, of RSA with 2048 bits or more, or on the curve P-256."
# What the library raises for certificates and keys that it cannot read, verify or use.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
NO_CERTIFICATE = "Name a PEM file that begins with -----BEGIN CERTIFICATE-----, with the server's certificate first."


class UnusableError(ValueError):
    """A certificate or key that no server could use. The text completes "FILE: …"; the remedy is a sentence."""

    def __init__(self, reason: str, remedy: str, *, of_key: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.remedy, self.of_key = reason, remedy, of_key


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate, followed by those of its authorities, and its private key, both as PEM. `repr` shows no key."""

    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Pair()"

    @property
    def certificate(self) -> x509.Certificate:
        """The first of the chain."""
        return x509.load_pem_x509_certificates(self.chain)[0]

    @property
    def expires(self) -> datetime:
        """When the certificate does."""
        return self.certificate.not_valid_after_utc


def derived_key(secret: str, purpose: str) -> ec.EllipticCurvePrivateKey:
    """The key that a secret of 256 bits or more stands for: always the same one, which does not reveal the secret."""
    digest = hmac.new(secret.encode(), purpose.encode(), hashlib.sha512).digest()
    # Of twice the order's length, so that the remainder favours no number (FIPS 186-5, A.2.1).
    return ec.derive_private_key(int.from_bytes(digest, "big") % (P256_ORDER - 1) + 1, ec.SECP256R1())


def make_authority(name: str, now: datetime, key: ec.EllipticCurvePrivateKey | None = None) -> Pair:
    """A new authority, which signs no authorities. None: with a new key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    usage = _usage(signs=True)
    builder = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pair([builder.sign(key, hashes.SHA256())], key)


def issue(
    authority: Pair,
    names: Sequence[str],
    now: datetime,
    *,
    life: timedelta = SERVER_LIFE,
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
) -> Pair:
    """A new certificate for these names and addresses, the best one first; for a server, unless `usages` say more."""
    key, signer = ec.generate_private_key(ec.SECP256R1()), authority.certificate
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    builder = (
        _builder(subject, signer.subject, key.public_key(), now, min(life, authority.expires - now))
        .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    signing = serialization.load_pem_private_key(authority.key, None)
    return _pair([builder.sign(signing, hashes.SHA256())], key)  # type: ignore[arg-type]


def is_good(
    server: Pair, authority: Pair, names: Sequence[str], now: datetime, renewed_before: timedelta = RENEWED_BEFORE
) -> bool:
    """Whether a certificate that was issued before still serves: signed, for all these names, and long enough."""
    try:
        check(server, (), now)
        server.certificate.verify_directly_issued_by(authority.certificate)
    except UNREADABLE:
        return False
    return set(names) <= names_of(server.certificate) and server.expires - now > renewed_before


def plain(pair: Pair) -> Pair:
    """The same without what its files hold beside, such as a key beside the certificate, which everyone reads, or a
    byte order mark, which OpenSSL does not skip.
    """
    return _pair(_chain(pair.chain), _key(pair.key))


def check(pair: Pair, names: Sequence[str], now: datetime) -> None:
    """Raises `UnusableError` if a server with these names cannot use the pair."""
    chain, key = _chain(pair.chain), _key(pair.key)
    own = chain[0]
    if not _belongs(own, key):
        if any(_belongs(other, key) for other in chain[1:]):
            reason = "is in the wrong order: its first certificate is not the server's own"
            raise UnusableError(reason, "Put the server's certificate first, then the authority that signed it.")
        raise UnusableError(
            f"is not the key of the certificate of {_subject(own)}",
            "Name the key that the certificate was asked for with.",
            of_key=True,
        )
    for below, above in itertools.pairwise(chain):
        try:
            below.verify_directly_issued_by(above)
        except UNREADABLE:
            reason = f"is in the wrong order: {_subject(above)} did not sign {_subject(below)}, which is before it"
            raise UnusableError(reason, "Put after each certificate the one that signed it.") from None
    for one in chain:
        _check_strength(one)
    _check_times(chain, now)
    found = names_of(own)
    if missing := [name for name in names if not _covered(name, found)]:
        raise UnusableError(
            f"is for {', '.join(sorted(found)) or 'no name'}, and not for {', '.join(missing)} (network.names)",
            "Get a certificate for every name in network.names, or remove the name there.",
        )


def text_of_key(key: PrivateKeyTypes) -> bytes:
    """A private key as PEM, without a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def names_of(certificate: x509.Certificate) -> set[str]:
    """The names and addresses that it is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return {*(name.lower() for name in found.get_values_for_type(x509.DNSName)), *addresses}


def _check_strength(certificate: x509.Certificate) -> None:
    key, subject = certificate.public_key(), _subject(certificate)
    if isinstance(key, rsa.RSAPublicKey):
        if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            raise UnusableError(f"has a key for RSASSA-PSS alone, which browsers refuse: {subject}", NEW_KEY)
        if key.key_size < SMALLEST_RSA:
            reason = f"has an RSA key of {key.key_size} bits, and {SMALLEST_RSA} are the least: {subject}"
            raise UnusableError(reason, NEW_KEY)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            reason = (
                f"has a key on the curve {key.curve.name}, and clients take {', '.join(CURVES.values())}: {subject}"
            )
            raise UnusableError(reason, NEW_KEY)
    else:
        raise UnusableError(f"has a key that is neither RSA nor on a curve that browsers take: {subject}", NEW_KEY)
    used = certificate.signature_hash_algorithm
    # Nobody verifies how an authority signed itself.
    if used and used.name in WEAK_HASHES and certificate.subject != certificate.issuer:
        reason = f"is signed with {used.name.upper()}, which clients refuse: {subject}"
        raise UnusableError(reason, "Get a certificate that is signed with SHA-256.")


def _check_times(chain: Sequence[x509.Certificate], now: datetime) -> None:
    for one in chain:
        if one.not_valid_after_utc <= now:
            reason = f"has expired on {one.not_valid_after_utc:%Y-%m-%d}: {_subject(one)}"
            raise UnusableError(reason, f"Renew it, or set this host's clock, which says {now:%Y-%m-%d %H:%M} UTC.")
        if one.not_valid_before_utc > now:
            reason = f"is valid from {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only: {_subject(one)}"
            raise UnusableError(reason, "Wait until then, or set this host's clock.")


def _chain(text: bytes) -> list[x509.Certificate]:
    """The certificates of a file, each with a key, a signature and extensions that can be read."""
    if not text.strip():
        raise UnusableError("is empty", NO_CERTIFICATE)
    try:
        chain = x509.load_pem_x509_certificates(text)
        for one in chain:
            _ = one.public_key(), one.signature_hash_algorithm, names_of(one), _subject(one)
    except UNREADABLE as error:
        if BEGIN_CERTIFICATE not in text:
            raise UnusableError("holds no certificate", NO_CERTIFICATE) from None
        reason = f"holds a certificate that cannot be read ({error})"
        raise UnusableError(reason, "Copy it again from where it was issued.") from None
    return chain


def _key(text: bytes) -> PrivateKeyTypes:
    remedy = "Name a PEM file with the private key, without a passphrase."
    if not text.strip():
        raise UnusableError("is empty", remedy, of_key=True)
    try:
        return serialization.load_pem_private_key(text, None)
    except UNREADABLE:
        if b"ENCRYPTED" in text:
            reason = "has a passphrase, which nobody could enter"
            take_away = "Name a key without one, as this makes it: openssl pkey -in KEY -out PLAIN_KEY"
            raise UnusableError(reason, take_away, of_key=True) from None
        raise UnusableError("holds no private key that can be read", remedy, of_key=True) from None


def _belongs(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    return _public(certificate.public_key()) == _public(key.public_key())  # type: ignore[arg-type]


def _public(key: CertificateIssuerPublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a subject"


def _covered(name: str, found: set[str]) -> bool:
    host = name.lower().rstrip(".")
    return host in found or f"*.{host.partition('.')[2]}" in found


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BEGIN)
        .not_valid_after(now + life)
    )


def _pair(chain: Sequence[x509.Certificate], key: PrivateKeyTypes) -> Pair:
    return Pair(chain=b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain), key=text_of_key(key))
