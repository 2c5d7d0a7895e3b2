"""OpenSSH keys for tests that sign, and files of allowed signers."""

import subprocess
from pathlib import Path


def make_key(path: Path, passphrase: str = "") -> Path:
    """A key of its own, with its public half beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path], check=True)
    return path


def allow(key: Path, options: str = "") -> Path:
    """A file of allowed signers that names this key."""
    signers = key.with_name(f"{key.name}-signers")
    signers.write_text(f"ci@example.org,other {options} {key.with_name(f'{key.name}.pub').read_text()}")
    return signers
