"""The images of the hosts: built once in this machine's own Docker, then copied, since hosts have no internet."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import docker

from images.base.recipe import SUITES, base_tag
from stack.sources import ANSWERS_FILE
from testing.cluster.hosts import Host
from testing.live.deployment import LiveStack

PROGRAM = Path(__file__).with_name("images_program.py")
# As `ws up` would choose on a host, but for the slow parts: no PyTorch.
IMAGES: dict[str, Any] = {
    "ray": {"cpu": {"torch": False}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
}


def make_images(folder: Path) -> tuple[list[str], Path]:
    """Makes what is not there yet. All tags, and the file that says where the images came from, which decides tags."""
    stack = LiveStack.make("cluster-images", IMAGES, folder)
    shutil.copy(PROGRAM, stack.folder / "__main__.py")
    made = stack.up()
    assert made.ok, [f"{change.name}: {change.error}" for change in made.failed]
    # One tag of each, without the readable one that moves from content to content.
    tags = [
        tag for image in made.outputs["services"] for tag in stack.engine.images.get(image).tags if "/ml:" not in tag
    ]
    bases = (base_tag(suite, made.outputs["bases"]) for suite in SUITES)
    return sorted({*tags, *bases}), stack.state / ANSWERS_FILE


def copy_images(tags: Iterable[str], hosts: Iterable[Host]) -> None:
    """Puts images of this machine's Docker into that of each host."""
    source = docker.from_env(timeout=600)

    def copy(host: Host) -> None:
        there = host.engine
        for tag in tags:
            # Layers that another image brought before are skipped. A stream is right, whatever the stubs say.
            there.images.load(cast(bytes, source.images.get(tag).save(named=tag)))

    with ThreadPoolExecutor() as pool:
        list(pool.map(copy, hosts))
