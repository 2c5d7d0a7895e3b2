"""The state folder: files of this host that containers mount, such as programs and secrets.

Owns a folder of the user (``$XDG_STATE_HOME/cslr``, by default ``~/.local/state/cslr``). A file's name contains a
fingerprint of its content, so a changed program or a rotated secret changes the mount, and thereby replaces exactly the
containers that use it. Does not own the content of the files.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.project import state_root
from stack.identity import StackIdentity

DUMPS = "dumps"  # folder, in a stack's own: databases before the image of who uses them or that of Postgres changed


def stack_folder(identity: StackIdentity) -> Path:
    """The part of it that belongs to one stack."""
    return state_root() / identity.project / identity.stack


def make_closed(folder: Path) -> None:
    """Makes a folder that others cannot enter. Folders missing above it are closed too; `mkdir` would open those."""
    if not folder.is_dir():
        make_closed(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def write_atomically(path: Path, content: bytes, mode: int) -> None:
    """Writes a file atomically, in a folder closed to others."""
    _draft(path, content, mode).replace(path)


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Writes a file atomically where there is none. One that is there stays, also one that is made at this moment."""
    draft = _draft(path, content, mode)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def remove_drafts(path: Path) -> None:
    """Removes what killed programs left of a file that they did not finish. Nobody may be writing it."""
    for draft in path.parent.glob(f"{_drafts_of(path)}*"):
        draft.unlink(missing_ok=True)


def _drafts_of(path: Path) -> str:
    """How the names of its drafts begin."""
    return f".{path.name}."


def _draft(path: Path, content: bytes, mode: int) -> Path:
    """The whole content, under another name beside it."""
    make_closed(path.parent)
    draft = path.with_name(f"{_drafts_of(path)}{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.chmod(mode)
    return draft


@dataclass(frozen=True, kw_only=True)
class HostFiles:
    """Places files for mounting. In a preview it only says where they would be."""

    folder: Path
    dry_run: bool

    def program(self, source: Path) -> str:
        """Path of a copy of an entry program, readable by every container."""
        return self.document(source.name, source.read_bytes())

    def document(self, name: str, content: bytes) -> str:
        """Path of a file that every container may read."""
        digest = hashlib.sha256(content).hexdigest()[:12]
        path = self.folder / "programs" / digest / name
        if not self.dry_run and not path.exists():
            write_atomically(path, content, 0o644)
        return str(path)

    def open_folder(self, name: str, files: Mapping[str, str]) -> str:
        """Path of a folder with files that every container may read, and that follow the stack while containers run."""
        folder = self.folder / name
        if not self.dry_run:
            make_closed(self.folder)
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
            for file, text in files.items():
                if not ((folder / file).is_file() and (folder / file).read_text() == text):
                    write_atomically(folder / file, text.encode(), 0o644)
        return str(folder)

    def secret(self, name: str, value: str, *, uid: int) -> str:
        """Path of a file with a secret, readable by user `uid` alone where this process may give files away."""
        content = value.encode()
        # Keyed, because the path shows in `docker inspect`: a plain digest would let a weak password be guessed.
        digest = hmac.new(self._salt(), content, hashlib.sha256).hexdigest()[:12]
        path = self.folder / "secrets" / digest / str(uid) / name
        if not self.dry_run and not (path.is_file() and path.read_bytes() == content):
            self._write_secret(path, content, uid)
        return str(path)

    def secret_folder(self, name: str, files: Mapping[str, bytes], *, uid: int) -> str:
        """Path of a folder with secrets for user `uid`, whose files change while its container runs."""
        folder = self.folder / name
        if not self.dry_run:
            make_closed(self.folder)
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)  # the closed folder above keeps others out
            for file, content in files.items():
                if not ((folder / file).is_file() and (folder / file).read_bytes() == content):
                    self._write_secret(folder / file, content, uid)
        return str(folder)

    def generated(self, name: str) -> str:
        """A secret made on first use and kept: 256 bits, URL-safe. A preview before that invents one for itself."""
        path = self.folder / "generated" / name
        if not path.is_file():
            value = secrets.token_urlsafe(32)
            if self.dry_run:
                return value
            write_new(path, value.encode(), 0o600)
        return path.read_text()

    def keep(self, name: str, value: str) -> str:
        """Keeps a secret that was not made here where people find those that were. Returns it."""
        path = self.folder / "generated" / name
        if not self.dry_run and not (path.is_file() and path.read_text() == value):
            write_atomically(path, value.encode(), 0o600)
        return value

    def shared(self, name: str, *, uid: int) -> str:
        """Path of a folder that containers of user `uid` write to, and that outlives them."""
        path = self.folder / name
        if not self.dry_run and not path.is_dir():
            make_closed(path)
            if os.getuid() == 0:
                os.chown(path, uid, uid)
            elif os.getuid() != uid:
                path.chmod(0o777)  # the closed folder above keeps others out
        return str(path)

    def told(self, name: str, *, uid: int) -> str:
        """Path of a folder that containers of user `uid` write to, and that every container may read."""
        path = self.folder / name
        if not self.dry_run:
            make_closed(self.folder)
            path.mkdir(exist_ok=True)
            if os.getuid() == 0:
                os.chown(path, uid, uid)
            path.chmod(0o755 if os.getuid() in (0, uid) else 0o777)  # the closed folder above keeps others out
        return str(path)

    @staticmethod
    def _write_secret(path: Path, content: bytes, uid: int) -> None:
        # Only root can give a file away; otherwise it is the closed folder above that keeps others out.
        write_atomically(path, content, 0o600 if os.getuid() in (0, uid) else 0o644)
        if os.getuid() == 0:
            os.chown(path, uid, uid)

    def _salt(self) -> bytes:
        return self.generated("salt").encode()
