"""Signatures by OpenSSH: `ssh-keygen -Y`, which here never asks anything and never waits for a person for ever."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote

NAMESPACE = "cslr-images"  # a signature that the same key made for something else is none of ours
SECONDS = 60  # a key in hardware may want to be touched
PROGRAM = "ssh-keygen"
ABSENT, INSTALL = f"needs the program {PROGRAM}, which is not here", "sudo apt-get install openssh-client"
MAKE = "ssh-keygen -t ed25519 -N '' -f {key}"
ALLOW = 'echo "ci@example.org $(cat cslr-images.pub)" >> {signers}'
# What ssh-keygen says → why, and the remedy; the first that fits.
REFUSED = (
    ("are too open", "can be read by others, so OpenSSH does not use it", "chmod 600 {key}"),
    ("incorrect passphrase", "has a passphrase, and no agent holds it", "ssh-add {key}"),
    ("No private key found", "is a public key, and no agent holds its private half", "ssh-add"),
    ("agent refused", "is held by an agent that refuses to sign with it", "ssh-add {key}"),
)


class SignatureError(Exception):
    """Why something cannot be signed, or why a signature does not count: completes "<key or list> …"."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy  # the latter a command


def sign(content: bytes, key: Path) -> bytes:
    """The signature of a content, as text. Raises `SignatureError`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "content"
        file.write_bytes(content)
        status, _, said = _run(["sign", "-f", str(key), "-n", NAMESPACE, str(file)])
        if status == 0:
            return file.with_name("content.sig").read_bytes()
    raise _refusal(key, said)


def check_signers(signers: Path) -> None:
    """Passes if signatures can be compared with a file of allowed signers. Raises `SignatureError`."""
    if not shutil.which(PROGRAM):
        raise SignatureError(ABSENT, INSTALL)
    try:
        if signers.is_file():
            signers.read_bytes()
            return
    except OSError as error:
        raise SignatureError(f"{signers} cannot be read ({error.strerror})", f"ls -l {quote(str(signers))}") from None
    raise SignatureError(f"there is no file {signers} with allowed signers", ALLOW.format(signers=quote(str(signers))))


def verify(content: bytes, signature: bytes, signers: Path) -> str:
    """Whose signature it is, as the file of allowed signers names them. Raises `SignatureError`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        status, good, said = _run(["check-novalidate", "-n", NAMESPACE, "-s", str(file)], content)
        if status:
            raise SignatureError(f"does not have a signature of its content: {_first(said)}")
        by = re.search(r"with (.+)", good)
        status, listed, said = _run(["find-principals", "-s", str(file), "-f", str(signers)])
        if status:
            reason = f"is signed with {by[1] if by else 'a key'}, which {signers} does not allow"
            raise SignatureError(f"{reason}: {_first(said)}")
        principal = re.split("[,\n]", listed)[0]
        arguments = ["verify", "-f", str(signers), "-I", principal, "-n", NAMESPACE, "-s", str(file)]
        status, _, said = _run(arguments, content)
        if status:
            reason = f"is signed by {principal}, whom {signers} does not allow to sign images"
            raise SignatureError(f"{reason}: {_first(said)}")
        return principal


def _run(arguments: Sequence[str], content: bytes = b"") -> tuple[int, str, str]:
    """Status, result and messages of ssh-keygen, which fails where it would ask: nothing that asks is within its reach.

    Raises:
        SignatureError: it is not here, or did not end.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "SSH_ASKPASS")}
    try:
        done = subprocess.run(
            [PROGRAM, "-Y", *arguments],
            input=content,
            capture_output=True,
            env={**environment, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
            timeout=SECONDS,
            start_new_session=True,  # away from the terminal of this one
            check=False,
        )
    except FileNotFoundError:
        raise SignatureError(ABSENT, INSTALL) from None
    except subprocess.TimeoutExpired:
        reason = f"gave no result within {SECONDS} s: a key may have to be touched or unlocked"
        raise SignatureError(reason, "ssh-add -l") from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def _refusal(key: Path, said: str) -> SignatureError:
    quoted = quote(str(key))
    with suppress(OSError):  # of a folder that is closed, ssh-keygen says so
        if not key.exists():
            return SignatureError(f"{key} does not exist", MAKE.format(key=quoted))
    for sign_of, reason, remedy in REFUSED:
        if sign_of in said:
            return SignatureError(f"{key} {reason}", remedy.format(key=quoted))
    return SignatureError(
        f"{key} is not a key that OpenSSH can sign with: {_first(said)}", MAKE.format(key=quote(f"{key}.new"))
    )


def _first(said: str) -> str:
    """Its reason, in ssh-keygen's words; what follows only says that it failed."""
    return next((line.strip()[:200] for line in said.splitlines() if line.strip()), "ssh-keygen says nothing")
