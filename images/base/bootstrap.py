"""Makes a base image on this host: from a pulled ``debian:<suite>-slim``, or from Debian's packages with debootstrap.

Usage: ``python -m images.base.bootstrap --suite forky --source bootstrap --tag cslr/base:forky-…``

Does nothing where the tag exists. The tag is set last, so a run that was cut off leaves nothing that looks finished;
its working folder is removed by the next run of the same tag.
"""

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import os
import platform as this_host
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

import docker
import docker.errors
import docker.utils
import requests

from images.base.recipe import (
    DEBIAN_KEYS,
    FOLDER,
    PLATFORM,
    PLATFORMS,
    SOURCES,
    SUITES,
    Platform,
    Source,
    Suite,
    architecture,
    site_certificates,
)

WORK = Path("/var/cache/cslr/base")  # not /tmp: debootstrap needs a file system that allows devices and programs
DEBOOTSTRAP = Path("/usr/share/debootstrap")
# Of debootstrap's errors those that say that the release file is not Debian's.
UNSIGNED = re.compile(r"^E: (.*release sign.*)$", re.MULTILINE | re.IGNORECASE)
BINFMT = Path("/proc/sys/fs/binfmt_misc")  # where Linux shows which emulators are registered for foreign programs
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}  # Debian's name of a processor → the kernel's and QEMU's
NEWEST_SCRIPT = "sid"  # debootstrap's own name for "the rules of today", valid for suites it does not know yet
PROBE_TIMEOUT = 10.0  # seconds
ENGINE_TIMEOUT = 900  # seconds: the Engine answers a build only when the step in progress says something
LINE = 120  # characters of a progress line
FOREIGN_PROGRAM = "exec format error"  # what a kernel says of one
EMULATOR = "Install an emulator, as root: apt-get install qemu-user-static binfmt-support"
PRUNED = (
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "var/cache/apt",
    "var/lib/apt/lists",
)


class BaseImageError(Exception):
    """A base image cannot be made here. The message is one sentence with the remedy."""


def main(arguments: list[str] | None = None) -> int:
    """Make the base image that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m images.base.bootstrap", description="Make a base image.")
    parser.add_argument("--suite", choices=SUITES, required=True, help="Debian release")
    parser.add_argument("--source", choices=SOURCES, required=True, help="pull debian:<suite>-slim, or debootstrap")
    parser.add_argument("--tag", required=True, help="name of the image to make, for example cslr/base:forky-1")
    parser.add_argument("--platform", choices=PLATFORMS, default=PLATFORM, help=f"default: {PLATFORM}")
    parser.add_argument("--debian-mirror", metavar="URL", help="Debian mirror; without it, debootstrap's default")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that children and folders go too
    try:
        make_base(options.suite, options.source, options.tag, options.debian_mirror, options.platform)
    except BaseImageError as error:
        print(f"{options.tag}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def make_base(suite: Suite, source: Source, tag: str, mirror: str | None, platform: Platform) -> None:
    """Make the image ``tag`` unless it exists. Raises BaseImageError."""
    started = time.monotonic()
    try:
        client = docker.APIClient(timeout=ENGINE_TIMEOUT, **docker.utils.kwargs_from_env())
        if _exists(client, tag):
            print(f"{tag} exists")
            return
        if source == "registry":
            sources = apt_sources(suite, mirror.rstrip("/")) if mirror else None
            _finish(client, _Rootfs(f"debian:{suite}-slim", suite, source, platform), tag, sources)
        else:
            _require_emulator(platform)
            with _lock(f"{suite}-{architecture(platform)}") as folder:
                if not _exists(client, tag):  # another run may have made it while this one waited
                    _bootstrap(client, suite, tag, mirror, platform, folder)
    except docker.errors.DockerException as error:
        raise BaseImageError(f"the Docker Engine refused: {error}. Does it run, may this user reach it?") from error
    except requests.RequestException as error:  # before OSError, which it is
        raise BaseImageError(f"the connection to the Docker Engine broke: {error}. Run the command again.") from error
    except OSError as error:
        raise BaseImageError(f"this host refused: {error}. Check the space and the rights of {WORK}.") from error
    print(f"{tag} ready after {time.monotonic() - started:.0f} s", flush=True)


def _exists(client: docker.APIClient, tag: str) -> bool:
    with contextlib.suppress(docker.errors.ImageNotFound):
        return bool(client.inspect_image(tag))  # type: ignore[no-untyped-call]
    return False


def _require_emulator(platform: Platform) -> None:
    """Raise BaseImageError unless this host runs programs of ``platform``, by itself or in an emulator."""
    machine = MACHINES[architecture(platform)]
    if machine == this_host.machine():
        return
    handler = BINFMT / f"qemu-{machine}"
    if not handler.is_file() or not handler.read_text().startswith("enabled"):
        raise BaseImageError(
            f"this host does not run programs of {platform}, which debootstrap must. {EMULATOR}"
            + ("" if (BINFMT / "status").is_file() else f"; before it: mount -t binfmt_misc binfmt_misc {BINFMT}")
        )


@contextlib.contextmanager
def _lock(name: str) -> Iterator[Path]:
    """Give an empty working folder that no other run of the same name uses; remove it afterwards."""
    if os.geteuid() != 0:
        raise BaseImageError("debootstrap needs root. Run the command as root, or choose `--source registry`.")
    WORK.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = WORK / name
    with (WORK / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another run makes a {name} base; waiting", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _bootstrap(
    client: docker.APIClient, suite: Suite, tag: str, mirror: str | None, platform: Platform, folder: Path
) -> None:
    """Make the root file system with debootstrap, load it, and finish it as an image."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # which a shell opened by su may lack
    program = shutil.which("debootstrap", path=path)
    if program is None:
        raise BaseImageError("debootstrap is missing. Install it with: apt-get install debootstrap")
    if not DEBIAN_KEYS.is_file():
        raise BaseImageError(
            f"Debian's keys are missing ({DEBIAN_KEYS}), and unchecked packages are not installed. "
            "Install them with: apt-get install debian-archive-keyring"
        )
    root = folder / "root"
    print(f"{tag}: debootstrap {suite} for {platform}", flush=True)
    # Mounts and processes live in namespaces of their own: whatever ends this run ends them, and a folder that is
    # removed later holds no mounted /proc.
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", program, "--variant=minbase"]
    command += [
        f"--arch={architecture(platform)}",
        # Without them debootstrap installs unchecked packages where it finds no keys, and only warns.
        "--force-check-gpg",
        f"--keyring={DEBIAN_KEYS}",
        "--include=ca-certificates",
        suite,
        str(root),
        *([mirror] if mirror else []),
    ]
    _run(command, {**os.environ, "PATH": path, "DEBOOTSTRAP_DIR": str(_scripts(folder / "debootstrap", suite))})
    _prune(root)
    sources = apt_sources(suite, _mirror_of(root))
    rootfs = _load(client, root, folder, _Rootfs("", suite, "bootstrap", platform))
    try:
        _finish(client, rootfs, tag, sources)
    except BaseException:
        with contextlib.suppress(
            docker.errors.APIError
        ):  # a half-built child keeps it; `docker image prune` takes both
            client.remove_image(rootfs.image)
        raise


def _scripts(folder: Path, suite: Suite) -> Path:
    """Copy debootstrap's folder as links, adding a script for ``suite`` where this version has none."""
    scripts = folder / "scripts"
    scripts.mkdir(parents=True)
    (folder / "functions").symlink_to(DEBOOTSTRAP / "functions")
    for script in (DEBOOTSTRAP / "scripts").iterdir():
        (scripts / script.name).symlink_to(script)
    if not (scripts / suite).exists():
        (scripts / suite).symlink_to(DEBOOTSTRAP / "scripts" / NEWEST_SCRIPT)
    return folder


def _run(command: list[str], environment: dict[str, str]) -> None:
    """Run a program, showing one line in ten of what it says. Raises BaseImageError with the end of its output."""
    last: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            for number, line in enumerate(cast("io.TextIOWrapper", process.stdout)):
                last = [*last[-7:], line.strip()]
                if number % 10 == 0:
                    print(f"  {line.strip()}", flush=True)
        except BaseException:
            process.kill()  # unshare, which takes the whole process tree with it
            raise
    if process.returncode:
        if unsigned := UNSIGNED.search("\n".join(last)):
            raise BaseImageError(
                f"the mirror's release file is not signed by Debian: {unsigned[1]}. Nothing of it was used. "
                "Update the keys on this host with `apt-get install debian-archive-keyring`. If they are up to date, "
                "the mirror's files were changed or damaged: name another mirror with --debian-mirror."
            )
        raise BaseImageError(
            f"debootstrap failed ({process.returncode}): {'; '.join(last)}. "
            "Check that the Debian mirror can be reached, or name one with --debian-mirror."
        )


def _prune(root: Path) -> None:
    """Drop what no container reads: documentation (licences stay), translations, package lists."""
    for name in PRUNED:
        for entry in (root / name).glob("*"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for path in (root / "usr/share/doc").rglob("*"):
        if not path.is_dir() and path.name != "copyright":
            path.unlink()


def _mirror_of(root: Path) -> str:
    """Return the mirror that debootstrap used, as it wrote it into the new system's sources."""
    found = re.search(r"^deb\s+(?:\[.*?\]\s+)?(\S+)", (root / "etc/apt/sources.list").read_text(), re.MULTILINE)
    if not found:
        raise BaseImageError("debootstrap left no sources.list. Update debootstrap on this host.")
    return found[1].rstrip("/")


def apt_sources(suite: Suite, mirror: str) -> str:
    """Write sources.list for ``mirror``: the release, and its updates and security suites where the mirror has them.

    apt refuses a release file past its Valid-Until, which testing's is after a week on a mirror that stands still.
    debootstrap does not look at it; here the check is dropped for exactly such a suite, and said so.
    """
    candidates = (
        (mirror, suite),
        (mirror, f"{suite}-updates"),
        (f"{mirror}-security", f"{suite}-security"),  # Debian's own layout, kept by full mirrors
    )
    lines = []
    for url, name in candidates:
        release = _release_file(f"{url}/dists/{name}/InRelease")
        if release is None and name != suite:
            continue
        option = ""
        if release and _expired(release):
            print(f"warning: {url} is out of date for {name}; its expiry is not checked", flush=True)
            option = "[check-valid-until=no] "
        lines.append(f"deb {option}{url} {name} main\n")
    return "".join(lines)


def _release_file(url: str) -> str | None:
    with contextlib.suppress(requests.RequestException):
        answer = requests.get(url, timeout=PROBE_TIMEOUT)
        return answer.text if answer.ok else None
    return None


def _expired(release: str) -> bool:
    found = re.search(r"^Valid-Until: (.+)$", release, re.MULTILINE)
    return found is not None and parsedate_to_datetime(found[1].replace("UTC", "+0000")) < datetime.now(UTC)


@dataclass(frozen=True)
class _Rootfs:
    """A root file system as an image."""

    image: str  # name or ID
    suite: Suite
    source: Source
    platform: Platform


def _load(client: docker.APIClient, root: Path, folder: Path, wanted: _Rootfs) -> _Rootfs:
    """Make an unnamed image of the folder ``root``.

    As `docker save` writes it, because `docker import` on Engine 20.10 takes every file system for one of its own host.
    """
    layer = folder / "layer.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(root, arcname=".")
    with layer.open("rb") as content:
        diff_id = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    now = datetime.now(UTC).isoformat()
    config = {
        "architecture": architecture(wanted.platform),
        "os": "linux",
        "created": now,
        "config": {},
        "history": [{"created": now, "created_by": f"debootstrap --variant=minbase {wanted.suite}"}],
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(layer, arcname=layer.name)
        layer.unlink()
        for name, data in (
            ("config.json", config),
            ("manifest.json", [{"Config": "config.json", "RepoTags": None, "Layers": [layer.name]}]),
        ):
            _add(tar, name, json.dumps(data).encode())
    with archive.open("rb") as content:
        answer = list(client.load_image(content))  # type: ignore[no-untyped-call]
    _refuse_errors(answer)
    loaded = re.search(r"sha256:[0-9a-f]{64}", json.dumps(answer))
    if not loaded:
        raise BaseImageError(f"the Docker Engine loaded no image, but said: {answer}")
    return replace(wanted, image=loaded[0])


def _finish(client: docker.APIClient, rootfs: _Rootfs, tag: str, sources: str | None) -> None:
    """Build this folder's Dockerfile on a root file system."""
    print(f"{tag}: build on {rootfs.image}", flush=True)
    steps = client.build(
        fileobj=_context(sources),
        custom_context=True,
        tag=tag,
        buildargs={"ROOTFS": rootfs.image, "SUITE": rootfs.suite, "SOURCE": rootfs.source},
        platform=rootfs.platform,
        rm=True,
        forcerm=True,
        decode=True,
    )
    for step in steps:
        _refuse_errors([step])
        if str(step.get("stream", "")).startswith("Step "):
            print(f"  {step['stream'].strip()[:LINE]}", flush=True)


def _context(sources: str | None) -> io.BytesIO:
    """Pack the Dockerfile, the files of rootfs/, the site's certificates and apt's sources."""
    files = {"Dockerfile": (FOLDER / "Dockerfile").read_bytes()}
    for path in sorted((FOLDER / "rootfs").rglob("*")):
        if path.is_file():
            files[str(path.relative_to(FOLDER))] = path.read_bytes()
    for name, text in sorted(site_certificates().items()):
        files[f"rootfs/usr/local/share/ca-certificates/{name}"] = text.encode()
    if sources:
        files["rootfs/etc/apt/sources.list"] = sources.encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            _add(tar, name, content)
    packed.seek(0)
    return packed


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o755 if "/sbin/" in name else 0o644
    tar.addfile(entry, io.BytesIO(content))


def _refuse_errors(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        if FOREIGN_PROGRAM in message.get("error", ""):
            raise BaseImageError(f"Docker's host does not run programs of that platform. {EMULATOR}")
        if "error" in message:
            raise BaseImageError(
                f"the Docker Engine could not make it: {message['error'].strip()}. "
                "Where an image registry or a mirror cannot be reached, choose another --source or --debian-mirror."
            )


if __name__ == "__main__":
    sys.exit(main())
