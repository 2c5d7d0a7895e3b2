"""Public keys of people, one a line, as OpenSSH writes them (`id_ed25519.pub`) and as `authorized_keys` holds them."""

import base64
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

TYPES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
DSA = "ssh-dss"  # which OpenSSH has not taken since 10.0
SHORTEST_RSA = 2048  # bits
PRIVATE = re.compile("PRIVATE KEY|^PuTTY-User-Key-File|^Private-Lines:", re.MULTILINE)
MAKE = "ssh-keygen -t ed25519"
COMMENT = 100  # characters that are kept of it


class KeyRefused(Exception):  # noqa: N818 (a result, not a defect)
    """A line is no public key. Its texts, neither of which shows what may be secret: why, and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """One person's key."""

    kind: str
    data: str  # base64
    comment: str = ""

    @property
    def line(self) -> str:
        """As `authorized_keys` holds it."""
        return " ".join(filter(None, (self.kind, self.data, self.comment)))

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` and the log of sshd show it."""
        digest = sha256(base64.b64decode(self.data)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    @property
    def words(self) -> str:
        """Whose it is, and its fingerprint."""
        return " ".join(filter(None, (self.comment, self.fingerprint)))


def parse(line: str) -> PublicKey:
    """The key in a line. Raises `KeyRefused`."""
    if PRIVATE.search(line):
        raise KeyRefused(
            "is a private key, which must never leave its owner's computer",
            "Use the file beside it that ends in .pub. Anyone who has read the private key can log in as its owner: "
            f"make a new pair with {MAKE}.",
        )
    if "\n" in line.strip():
        raise KeyRefused(
            "has several lines", "Make an entry of each key, without line breaks, or name a file with them."
        )
    kind, data, comment, *_ = (*line.split(maxsplit=2), "", "", "")
    if kind == DSA:
        raise KeyRefused("is a DSA key, which OpenSSH refuses", f"Make another with {MAKE}.")
    if kind not in TYPES:
        raise _not_a_key(line)
    try:
        # Strictly, as sshd does: the library skips what is no base64, such as an invisible character of a web page.
        base64.b64decode(data.encode("ascii"), validate=True)
        key = load_ssh_public_key(f"{kind} {data}".encode())
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused(
            f"is cut off or damaged: what follows {kind} is not a complete key",
            "Copy the whole line of the file that ends in .pub, without line breaks.",
        ) from None
    if isinstance(key, RSAPublicKey) and key.key_size < SHORTEST_RSA:
        raise KeyRefused(
            f"is an RSA key of {key.key_size} bits: keys of fewer than {SHORTEST_RSA} bits can be broken",
            f"Make another with {MAKE}.",
        )
    printable = "".join(character for character in comment if character.isprintable())
    return PublicKey(kind=kind, data=data, comment=printable.strip()[:COMMENT])


def _not_a_key(line: str) -> KeyRefused:
    if any(f" {kind} " in line for kind in (*TYPES, DSA)):
        return KeyRefused(
            "has options in front of the key, which the platform does not accept",
            "Begin with the type of the key: all who log in have the same rights here.",
        )
    kind = line.split(maxsplit=1)[0][:40] if line.split() else ""
    return KeyRefused(
        f"begins with {kind!r}, which is not a known type of key",
        f"Known types are {', '.join(TYPES)}. Make a pair with {MAKE}.",
    )
