"""Values of stack files encrypted with the stack's passphrase, as Pulumi's CLI writes and reads them."""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config.problems import ConfigError

# pulumi/pulumi sdk/go/common/resource/config/crypt.go: PBKDF2 with SHA-256, AES-256-GCM.
ITERATIONS = 1_000_000
KEY_BYTES, SALT_BYTES, NONCE_BYTES = 32, 8, 12
KNOWN_TEXT = "pulumi"  # the salt holds it encrypted, which reveals a wrong passphrase


class Passphrase:
    """The passphrase that an environment names, and the keys derived from it, which take half a second each."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._ciphers: dict[bytes, AESGCM] = {}

    def cipher(self, salt: bytes) -> AESGCM:
        """The cipher of a stack file with this salt. Raises `ConfigError` where the passphrase cannot be read."""
        if salt not in self._ciphers:
            key = hashlib.pbkdf2_hmac("sha256", self._text().encode(), salt, ITERATIONS, KEY_BYTES)
            self._ciphers[salt] = AESGCM(key)
        return self._ciphers[salt]

    def _text(self) -> str:
        file = self._environment.get("PULUMI_CONFIG_PASSPHRASE_FILE")
        if "PULUMI_CONFIG_PASSPHRASE" not in self._environment and file:
            try:
                return Path(file).read_text().strip()
            except OSError as error:
                raise ConfigError(f"PULUMI_CONFIG_PASSPHRASE_FILE: {file} cannot be read: {error.strerror}.") from error
        return self._environment.get("PULUMI_CONFIG_PASSPHRASE", "")


class Decrypter:
    """Replaces each ``{secure: …}`` in a value. Derives the key only when the first one comes."""

    def __init__(self, file: str, salt: object, passphrase: Passphrase) -> None:
        self._file = file
        self._salt = salt
        self._passphrase = passphrase
        self._cipher: AESGCM | None = None

    def __call__(self, key: str, value: Any) -> Any:  # noqa: ANN401
        """The value of a key, in plain. Raises `ConfigError`."""
        if isinstance(value, dict):
            if list(value) == ["secure"] and isinstance(value["secure"], str):
                return self._decrypt(key, value["secure"])
            return {name: self(key, item) for name, item in value.items()}
        return [self(key, item) for item in value] if isinstance(value, list) else value

    def _decrypt(self, key: str, text: str) -> str:
        try:
            self._cipher = self._cipher or self._derive()
            return _opened(self._cipher, text)
        except (ValueError, binascii.Error, InvalidTag) as error:
            raise ConfigError(
                f"{self._file}: {key}: cannot be decrypted with this passphrase.\n"
                "  Set PULUMI_CONFIG_PASSPHRASE (or PULUMI_CONFIG_PASSPHRASE_FILE) to the one it was encrypted with."
            ) from error

    def _derive(self) -> AESGCM:
        # v1:<salt>:<a known text, encrypted>; another secrets provider leaves no salt.
        version, _, rest = str(self._salt or "").partition(":")
        if version != "v1":
            raise ConfigError(
                f"{self._file}: has encrypted values, but no encryptionsalt. Only passphrase encryption can be read "
                "without the Pulumi CLI; use --engine pulumi."
            )
        salt = base64.b64decode(rest.partition(":")[0])
        return self._passphrase.cipher(salt)


def encrypted(value: str, salt: object, file: str, passphrase: Passphrase) -> tuple[str, str]:
    """A value as Pulumi's CLI encrypts it, and the salt of its stack file: the one that is there, else a new one.

    Raises:
        ConfigError: what is encrypted there was encrypted with another passphrase, or in another way.
    """
    version, _, rest = str(salt or "").partition(":")
    if salt and version != "v1":
        raise ConfigError(f"{file}: encryptionsalt: is not one of passphrase encryption, which alone is known here.")
    random, _, known = rest.partition(":")
    if not salt:
        new = secrets.token_bytes(SALT_BYTES)
        cipher = passphrase.cipher(new)
        return _closed(cipher, value), f"v1:{base64.b64encode(new).decode()}:{_closed(cipher, KNOWN_TEXT)}"
    try:
        cipher = passphrase.cipher(base64.b64decode(random))
        right = _opened(cipher, known) == KNOWN_TEXT
    except (ValueError, binascii.Error, InvalidTag):
        right = False
    if not right:
        raise ConfigError(
            f"{file}: its secrets were encrypted with another passphrase.\n"
            "  Set PULUMI_CONFIG_PASSPHRASE (or PULUMI_CONFIG_PASSPHRASE_FILE) to that one."
        )
    return _closed(cipher, value), str(salt)


def _opened(cipher: AESGCM, text: str) -> str:
    _, nonce, ciphertext = text.split(":")
    return cipher.decrypt(base64.b64decode(nonce), base64.b64decode(ciphertext), None).decode()


def _closed(cipher: AESGCM, value: str) -> str:
    nonce = secrets.token_bytes(NONCE_BYTES)
    parts = (nonce, cipher.encrypt(nonce, value.encode(), None))
    return ":".join(["v1", *(base64.b64encode(part).decode() for part in parts)])
