"""The certificate that a stack's web services are served with: made, renewed or taken from the site's files.

Owns the folder `tls` of the stack: the authority (`authority.pem`, `authority.key`) and `trusted.pem`, which clients on
this host trust; and the folder `tls-served`, which nginx reads, and where it finds a new certificate by itself.
"""

import contextlib
import secrets
from datetime import UTC, datetime
from pathlib import Path
from shlex import join

from config.platform import PlatformSettings
from config.problems import Problem, Set, SettingsError
from config.project import FOLDER
from config.tls import CERTIFICATE, FILES, KEY, SOURCE
from coordination.regular_file import read_text
from stack import certificates, facts
from stack.certificates import OWN_NAMES, Pair, UnusableError
from stack.identity import StackIdentity
from stack.secrets import user_id
from stack.state import HostFiles, write_atomically

AUTHORITY, AUTHORITY_KEY, TRUSTED = "authority.pem", "authority.key", "trusted.pem"
SERVED = "tls-served"  # folder that the container mounts
DER_BEGINS = b"\x30"  # a sequence
KEY_BEGINS = b"-----BEGIN PRIVATE KEY-----"
PEM = "server.pem"  # chain and key in one file, so that the two change at once


def trusted_file(folder: Path) -> Path:
    """The certificates that clients on this host trust, in the folder of a stack."""
    return folder / "tls" / TRUSTED


def authority_file(folder: Path) -> Path:
    """The certificate of the authority that a stack made, in its folder."""
    return folder / "tls" / AUTHORITY


def own_authority(folder: Path) -> Path | None:
    """The authority that clients must trust; None where the certificate that is served now is not of it."""
    file = authority_file(folder)
    with contextlib.suppress(OSError):
        return file if file.read_bytes() == trusted_file(folder).read_bytes() else None
    return None


def load_site(settings: PlatformSettings, *, stack_file: str, key: str, now: datetime | None = None) -> Pair | None:
    """The site's certificate; None where the stack makes its own. Changes nothing.

    Raises:
        SettingsError: a file cannot be read, or no server could use it.
    """
    tls = settings.tls
    if not tls.enabled or tls.source != "files" or tls.certificate is None or tls.key is None:
        return None
    problems: list[Problem] = []
    texts = []
    for path, entry in ((CERTIFICATE, tls.certificate), (KEY, tls.key)):
        try:
            texts.append(read_text(FOLDER / entry).encode())
        except UnicodeDecodeError as error:
            problems.append(_problem(path, entry, "is not PEM, which is text", _conversion(path, entry, error.object)))
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            problems.append(_problem(path, entry, reason, "Name a file that you may read."))
    if not problems:
        try:
            pair = Pair(chain=texts[0], key=texts[1])
            certificates.check(pair, _site_names(settings), now or datetime.now(UTC))
        except UnusableError as error:
            path, entry = (KEY, tls.key) if error.of_key else (CERTIFICATE, tls.certificate)
            problems.append(_problem(path, entry, error.reason, error.remedy))
    if problems:
        raise SettingsError(problems, stack_file, key)
    return certificates.plain(pair)


def served_folder(
    settings: PlatformSettings,
    files: HostFiles,
    identity: StackIdentity,
    *,
    site: Pair | None,
    names: tuple[str, ...],
    now: datetime | None = None,
) -> str:
    """Path of the folder that nginx reads; a certificate that expires soon is renewed there, unless in a preview."""
    now = now or datetime.now(UTC)
    folder = trusted_file(files.folder).parent
    uid = user_id(settings.tls.user)
    if files.dry_run:
        return files.secret_folder(SERVED, {}, uid=uid)
    kept = files.folder / SERVED / PEM
    if site:
        pair, trusted = site, site.chain
    else:
        authority = _authority(folder, identity, now)
        pair, trusted = _issued(kept, authority, names, now), authority.chain
    write_atomically(trusted_file(files.folder), trusted, 0o644)
    facts.certificate(files.folder, "tls", pair.expires.timestamp())
    return files.secret_folder(SERVED, {PEM: pair.chain + pair.key}, uid=uid)


def certificate_folder(
    settings: PlatformSettings,
    files: HostFiles,
    identity: StackIdentity,
    *,
    site: Pair | None,
    hostname: str,
    own_addresses: tuple[str, ...],
) -> str:
    """The folder with the certificate of web services, renewed if that is due; empty without TLS."""
    if not settings.tls.enabled:
        return ""
    names = names_for(settings, hostname, own_addresses)
    return served_folder(settings, files, identity, site=site, names=names)


def names_for(settings: PlatformSettings, hostname: str, own_addresses: tuple[str, ...]) -> tuple[str, ...]:
    """What the generated certificate is for: the names of this host, and the addresses that ports are published on."""
    reaches = [settings.reach(name, own_addresses) for name in settings.behind_tls]
    addresses = [address for reach in reaches if reach for address in reach.addresses]
    found = (*_site_names(settings), hostname.lower(), *OWN_NAMES, *addresses)
    return tuple(dict.fromkeys(name for name in found if name and name.isascii()))


def _site_names(settings: PlatformSettings) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.partition(":")[0] for name in settings.names))


def _authority(folder: Path, identity: StackIdentity, now: datetime) -> Pair:
    """The stack's authority, kept as long as a certificate of it would be valid."""
    paths = folder / AUTHORITY, folder / AUTHORITY_KEY
    with contextlib.suppress(OSError, ValueError):  # there is none yet, or it is damaged
        kept = Pair(chain=paths[0].read_bytes(), key=paths[1].read_bytes())
        # A clock that is behind is no reason to end everybody's trust.
        certificates.check(kept, (), max(now, kept.certificate.not_valid_before_utc))
        if kept.expires - now > certificates.SERVER_LIFE:
            return kept
    # Told apart by the number: browsers find authorities by name.
    name = f"{identity.prefix} TLS authority {secrets.token_hex(4)}"
    made = certificates.make_authority(name, now)
    write_atomically(paths[1], made.key, 0o600)
    write_atomically(paths[0], made.chain, 0o644)
    return made


def _issued(path: Path, authority: Pair, names: tuple[str, ...], now: datetime) -> Pair:
    """The certificate that was issued last, or a new one if that no longer serves.

    A clock that says a time before the authority was made is behind. A certificate by that clock could have expired for
    everybody else, as one of 1970 has.
    """
    begin = authority.certificate.not_valid_before_utc
    behind, now = now < begin, max(now, begin + certificates.BEGIN)
    with contextlib.suppress(OSError, ValueError):
        text = path.read_bytes()
        end = text.index(KEY_BEGINS)
        kept = Pair(chain=text[:end], key=text[end:])
        at = max(now, kept.certificate.not_valid_before_utc) if behind else now
        if certificates.is_good(kept, authority, names, at):
            return kept
    return certificates.issue(authority, names, now)


def _conversion(path: tuple[str | int, ...], entry: str, content: bytes) -> str:
    """How a file that is no text becomes PEM."""
    if not content.startswith(DER_BEGINS):
        return "Save it as PEM, in UTF-8."
    kind = "pkey" if path == KEY else "x509"
    return (
        f"It may be DER. Convert it, and name the new file: {join(['openssl', kind, '-inform', 'DER', '-in', entry])}"
    )


def _problem(path: tuple[str | int, ...], entry: str, reason: str, remedy: str) -> Problem:
    return Problem(
        path,
        f"{entry} {reason}",
        f"{remedy}\nOr let the stack make its certificate:",
        (Set(path, FILES[path]), Set(SOURCE, "generated")),
    )
