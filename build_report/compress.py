"""Compressed sizes of layers that no registry holds: compresses each with zstd, as registries do.

Reads what `docker save` writes, each layer once, and recognises a layer by the digest of its content.
"""

import hashlib
import tarfile
from collections.abc import Callable, Container, Iterable, Iterator
from typing import IO, cast

import docker
import requests
import zstandard
from docker.errors import DockerException

from build_report.records import Image, ReportError
from build_report.sampling import docker_root
from build_report.store import Store
from build_report.units import size
from docker_api.api import DockerApi, bytes_free

LEVEL = 3
METHOD = f"zstd -{LEVEL}"
CHUNK = 2**20  # bytes
TIMEOUT = 3600  # seconds: the daemon writes an image to its disk before it sends the first byte
SPARE = 2 * 10**9  # bytes to keep free

Progress = Callable[[int], None]  # gets the bytes read since the last call


class CompressError(ReportError):
    """Layers cannot be read. The message is one sentence."""


def missing(images: Iterable[Image]) -> dict[str, int]:
    """Bytes, unpacked, of the layers whose compressed size is not known, by diff ID."""
    return {layer.diff_id: layer.size for image in images for layer in image.layers if layer.compressed is None}


def to_save(images: Iterable[Image]) -> list[Image]:
    """A small set of images with all missing layers: the daemon exports whole images."""
    candidates, chosen = list(images), []
    left = missing(candidates)
    while left:
        best = max(candidates, key=lambda image: sum(left[diff_id] + 1 for diff_id in _of(image) & left.keys()))
        left = {diff_id: count for diff_id, count in left.items() if diff_id not in _of(best)}
        chosen.append(best)
    return chosen


def measure(images: Iterable[Image], store: Store, progress: Progress) -> None:
    """Compresses the layers of unknown size, and stores the sizes. Raises CompressError."""
    wanted = list(images)
    left = set(missing(wanted))
    folder = docker_root(DockerApi())
    engine = docker.from_env(timeout=TIMEOUT)
    try:
        for image in to_save(wanted):
            free = bytes_free(folder)
            if free is not None and free < image.size + SPARE:
                raise CompressError(
                    f"Docker needs {size(image.size + SPARE)} on the disk of {folder} to export an image,"
                    f" and {size(free)} are free. Free some space, or push the images: then the registry has the sizes."
                )
            stream = engine.api.get_image(image.image_id, chunk_size=CHUNK)
            for diff_id, count in _compressed(stream, left, progress):
                store.add_compressed([(diff_id, count)], METHOD)
                left.discard(diff_id)
    except (DockerException, requests.RequestException, tarfile.TarError) as error:
        raise CompressError(f"Docker did not export an image: {str(error).rstrip('.')}. Run `ws doctor`.") from error
    finally:
        engine.close()


def _of(image: Image) -> set[str]:
    return {layer.diff_id for layer in image.layers}


def _compressed(stream: Iterator[bytes], wanted: Container[str], progress: Progress) -> Iterator[tuple[str, int]]:
    """Diff ID and compressed bytes of each wanted layer in what `docker save` writes."""
    with tarfile.open(fileobj=cast(IO[bytes], _Reader(stream)), mode="r|", bufsize=CHUNK) as saved:
        for member in saved:
            content = saved.extractfile(member) if member.isfile() else None
            if content:
                diff_id, count = _through_zstd(content, progress)
                if diff_id in wanted:
                    yield diff_id, count


def _through_zstd(content: IO[bytes], progress: Progress) -> tuple[str, int]:
    digest, compressor = hashlib.sha256(), zstandard.ZstdCompressor(level=LEVEL, threads=-1).compressobj()
    count = 0
    while chunk := content.read(CHUNK):
        digest.update(chunk)
        count += len(compressor.compress(chunk))
        progress(len(chunk))
    return f"sha256:{digest.hexdigest()}", count + len(compressor.flush())


class _Reader:
    """Parts that come one after the other, as a file: all that tarfile asks of one."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def read(self, _: int) -> bytes:
        return next(self._parts, b"")
