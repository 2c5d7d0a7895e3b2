"""Stack files as Pulumi writes them: plain values, objects, and values encrypted with the stack's passphrase."""

import base64
import binascii
import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from components.problems import closest
from components.yaml_file import InvalidYamlError, read_yaml

# pulumi/pulumi sdk/go/common/resource/config/crypt.go: PBKDF2 with SHA-256, AES-256-GCM.
ITERATIONS = 1_000_000
KEY_BYTES = 32
# What a stack file has besides its config; sdk/go/common/workspace/project.go.
WRITTEN_BY_PULUMI = ("encryptionsalt", "encryptedkey", "secretsprovider")
PULUMIS_KEYS = ("config", "environment", *WRITTEN_BY_PULUMI)


class ConfigError(Exception):
    """A stack file that cannot be read; says which, why and what to do."""


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """What ``pulumi.Config`` of one stack reads: full keys (``cslr:platform``) to text, objects as JSON."""

    project: str
    stack: str
    values: dict[str, str] = field(repr=False)
    secret_keys: frozenset[str]

    def laid_over(self, values: Mapping[str, object]) -> "StackConfig":
        """The same with other values of some full keys."""
        return replace(self, values=self.values | {key: json.dumps(value) for key, value in values.items()})


def stack_file(folder: Path, stack: str) -> Path:
    """The file that holds the config of a stack."""
    return folder / f"Pulumi.{stack}.yaml"


def stacks(folder: Path) -> list[str]:
    """The stacks that there are files for."""
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))


def read_stack_config(folder: Path, stack: str) -> StackConfig:
    """Reads ``Pulumi.yaml`` and ``Pulumi.<stack>.yaml`` in `folder`. Raises `ConfigError`."""
    project = str(_read(folder / "Pulumi.yaml").get("name"))
    path = stack_file(folder, stack)
    if not path.is_file():
        raise ConfigError(
            f"{path.name}: there is no such stack file.\n"
            f"  Choose one of {', '.join(stacks(folder))}, or copy one of them to {path.name} and edit it."
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", stack):
        raise ConfigError(
            f"{path.name}: {stack!r} cannot be a stack's name, which containers are called after.\n"
            "  Rename the file: use letters, digits, '_', '.' and '-', with a letter or digit first."
        )
    content = _read(path)
    if strange := next((key for key in map(str, content) if key not in PULUMIS_KEYS), None):
        guess = f"Did you mean {closest(strange, PULUMIS_KEYS) or 'config'}?"
        advice = "Write it below `config:`, indented by two spaces." if ":" in strange else guess
        raise ConfigError(f"{path.name}: {strange}: there is no such key, and nothing would read it.\n  {advice}")
    raw = content.get("config") or {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name}: config: must be a mapping of keys such as {project}:platform to values.")
    decrypt = _Decrypter(path.name, content.get("encryptionsalt"))
    values, secret_keys = {}, set()
    for key, value in raw.items():
        full_key = str(key) if ":" in str(key) else f"{project}:{key}"
        if full_key in values:
            raise ConfigError(f"{path.name}: {full_key}: is there twice, as {key} as well. Remove one of them.")
        try:
            plain = decrypt(full_key, value)
            # YAML knows dates; Pulumi reads them as text.
            values[full_key] = plain if isinstance(plain, str) else json.dumps(plain, default=str)
            if plain != value:
                secret_keys.add(full_key)
        except RecursionError as error:
            raise ConfigError(f"{path.name}: {full_key}: an anchor (&) in it holds its own alias (*).") from error
        except TypeError as error:
            raise ConfigError(f"{path.name}: {full_key}: {error}. Put such a key into quotes.") from error
    return StackConfig(project=project, stack=stack, values=values, secret_keys=frozenset(secret_keys))


def copy_laid_over(original: Path, copy: Path, values: Mapping[str, object]) -> None:
    """Copies a stack file, with other values of some full keys. Raises `ConfigError`."""
    if not values:
        shutil.copyfile(original, copy)
        return
    content = _read(original)
    replaced = {*values, *(key.partition(":")[2] for key in values)}  # Pulumi takes a key without the project as well
    kept = {key: value for key, value in (content.get("config") or {}).items() if key not in replaced}
    content["config"] = kept | dict(values)
    copy.write_text(yaml.safe_dump(content, sort_keys=False))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read: {error.strerror}.") from error
    except InvalidYamlError as error:
        raise ConfigError(f"{path.name}: is not valid YAML: {error}.") from error
    if content is None:  # all defaults, as for Pulumi
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: must be a mapping; Pulumi's stack files begin with `config:`.")
    return content


class _Decrypter:
    """Replaces each ``{secure: …}`` in a value. Derives the key only when the first one comes."""

    def __init__(self, file: str, salt: object) -> None:
        self._file = file
        self._salt = salt
        self._cipher: AESGCM | None = None

    def __call__(self, key: str, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, dict):
            if list(value) == ["secure"] and isinstance(value["secure"], str):
                return self._decrypt(key, value["secure"])
            return {name: self(key, item) for name, item in value.items()}
        return [self(key, item) for item in value] if isinstance(value, list) else value

    def _decrypt(self, key: str, text: str) -> str:
        try:
            _, nonce, ciphertext = text.split(":")
            self._cipher = self._cipher or self._derive()
            return self._cipher.decrypt(base64.b64decode(nonce), base64.b64decode(ciphertext), None).decode()
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
        return _cipher(_passphrase(), salt)


@functools.cache
def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    """Takes half a second, and one command reads its stack file several times."""
    return AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, ITERATIONS, KEY_BYTES))


def _passphrase() -> str:
    file = os.environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")
    if "PULUMI_CONFIG_PASSPHRASE" not in os.environ and file:
        try:
            return Path(file).read_text().strip()
        except OSError as error:
            raise ConfigError(f"PULUMI_CONFIG_PASSPHRASE_FILE: {file} cannot be read: {error.strerror}.") from error
    return os.environ.get("PULUMI_CONFIG_PASSPHRASE", "")
