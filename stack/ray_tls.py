"""The certificate by which Ray's processes and clients know each other (`ray.tls`): made and renewed by deployments.

Owns the folder `ray-tls` of the stack, with the certificate, its key and that of its authority. The authority's key is
kept nowhere: it is made from the secret `ray-authority`. So the authority is another one as soon as the secret is, and
stays the same when its certificate is renewed.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from config.addresses import published_on
from config.platform import PlatformSettings
from config.services import RAY_NODES
from contracts.ray_tls import AUTHORITY, CERTIFICATE, FILES, KEY
from stack import certificates, facts
from stack.certificates import AUTHORITY_LIFE, OWN_NAMES, SERVER_LIFE, Pair
from stack.identity import StackIdentity
from stack.secrets import RAY_AUTHORITY, SecretFiles
from stack.state import HostFiles, write_atomically

FOLDER = "ray-tls"
FACT = "ray"  # the certificate's name in metrics and alerts
CLIENT = "ray-client"  # in certificates of bundles, which are for no server
# A new certificate replaces Ray's nodes, so it is asked for once in ten years and not each year as those for browsers.
RENEWED_BEFORE = SERVER_LIFE


@dataclass(frozen=True, kw_only=True)
class RayCertificate:
    """A certificate and its key, and the authority that everybody's is of. `repr` shows no key."""

    pair: Pair
    authority: bytes

    @property
    def files(self) -> dict[str, str]:
        """File → content, as PEM."""
        found = {AUTHORITY: self.authority, CERTIFICATE: self.pair.chain, KEY: self.pair.key}
        return {name: found[name].decode() for name in FILES}


def ray_certificate(
    settings: PlatformSettings,
    secrets: SecretFiles,
    identity: StackIdentity,
    *,
    names: tuple[str, ...],
    now: datetime | None = None,
) -> RayCertificate | None:
    """The certificate of Ray's processes, renewed if that is due; a preview keeps no new one. None: without TLS."""
    files = secrets.files
    made = _made(secrets, identity, names, now or datetime.now(UTC)) if settings.ray.tls else None
    if not files.dry_run:
        facts.certificate(files.folder, FACT, made.pair.expires.timestamp() if made else None)
    return made


def kept_key(files: HostFiles) -> str | None:
    """The key of the certificate that was made last."""
    path = files.folder / FOLDER / KEY
    return path.read_text() if path.is_file() else None


def _made(secrets: SecretFiles, identity: StackIdentity, names: tuple[str, ...], now: datetime) -> RayCertificate:
    """The certificate that was made last, or a new one if that no longer serves."""
    files, key = secrets.files, _authority_key(secrets)
    folder = files.folder / FOLDER
    # By a clock that is behind, a certificate could have expired for everybody else, as one of 1970 has.
    # Another authority than it was made by (`ws secrets rotate`) begins anew, also where the clock was once ahead.
    now = max(now, _begin(folder, key))
    if kept := _kept(folder, key, names, now):
        return kept
    authority = _authority(identity, key, now)
    usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    pair = certificates.issue(authority, names, now, life=AUTHORITY_LIFE, usages=usages)
    made = RayCertificate(pair=pair, authority=authority.chain)
    if not files.dry_run:
        for name, text in made.files.items():
            write_atomically(folder / name, text.encode(), 0o600)
    return made


def client_certificate(secrets: SecretFiles, identity: StackIdentity, now: datetime | None = None) -> RayCertificate:
    """A new certificate for a Ray Client elsewhere, with which no server can be run."""
    now = now or datetime.now(UTC)
    authority = _authority(identity, _authority_key(secrets), now)
    usages = (ExtendedKeyUsageOID.CLIENT_AUTH,)
    pair = certificates.issue(authority, (CLIENT,), now, life=AUTHORITY_LIFE, usages=usages)
    return RayCertificate(pair=pair, authority=authority.chain)


def names_for(
    settings: PlatformSettings, node_addresses: Sequence[str], own_addresses: Sequence[str]
) -> tuple[str, ...]:
    """What the certificate of the nodes is for: where nodes and clients reach them."""
    site = (name.partition(":")[0] for name in settings.names)
    published = published_on(settings.network.bind_address, own_addresses)
    return tuple(dict.fromkeys((*RAY_NODES, *node_addresses, *OWN_NAMES, *site, *published)))


def _kept(folder: Path, key: ec.EllipticCurvePrivateKey, names: Sequence[str], now: datetime) -> RayCertificate | None:
    """The certificate that was made last, if it still serves; None where one must be made."""
    with contextlib.suppress(OSError, ValueError):
        texts = {name: (folder / name).read_bytes() for name in FILES}
        pair = Pair(chain=texts[CERTIFICATE], key=texts[KEY])
        authority = Pair(chain=texts[AUTHORITY], key=certificates.text_of_key(key))
        certificates.check(authority, (), now)
        if certificates.is_good(pair, authority, names, now, RENEWED_BEFORE):
            return RayCertificate(pair=pair, authority=authority.chain)
    return None


def _begin(folder: Path, key: ec.EllipticCurvePrivateKey) -> datetime:
    """The time of this host's clock when the authority of this key was made; long ago if it was not."""
    with contextlib.suppress(OSError, ValueError):
        made = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
        if made.public_key() == key.public_key():
            return made.not_valid_before_utc + certificates.BEGIN
    return datetime.min.replace(tzinfo=UTC)


def _authority(identity: StackIdentity, key: ec.EllipticCurvePrivateKey, now: datetime) -> Pair:
    return certificates.make_authority(f"{identity.prefix} Ray authority", now, key)


def _authority_key(secrets: SecretFiles) -> ec.EllipticCurvePrivateKey:
    return certificates.derived_key(secrets.values[RAY_AUTHORITY], "cslr/ray-authority")
