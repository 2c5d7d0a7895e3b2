"""The data volumes that `ws down -v` removes, and their contents."""

import threading
from collections.abc import Iterator, Mapping

from build_report.units import size
from docker_api.api import DockerApi, DockerError
from docker_api.disk_usage import disk_usage
from stack.identity import StackIdentity

SECONDS = 10.0  # for the Engine to measure what is there, which it does file by file


def in_words(identity: StackIdentity, api: DockerApi | None = None) -> Iterator[str]:
    """A line for each volume, with its size where the Engine can tell soon enough."""
    api = api or DockerApi()
    names = sorted(volume["Name"] for volume in api.labelled("/volumes", "Volumes", identity.label_filters))
    sizes = measured(api) if names else {}
    for name in names:
        bytes_used = sizes.get(name, -1)
        yield f"{name}: {size(bytes_used) if bytes_used >= 0 else 'size not known'}"


def measured(api: DockerApi) -> Mapping[str, int]:
    """Bytes of each volume of the Engine; none after a while, since a dataset may have millions of files."""
    found: dict[str, int] = {}

    def ask() -> None:
        try:
            answer = disk_usage(api, "volume")
        except DockerError:
            return
        for volume in answer.get("Volumes") or ():
            found[volume["Name"]] = (volume.get("UsageData") or {}).get("Size", -1)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS)
    return dict(found)
