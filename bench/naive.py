"""The peer: the packages of `marimo-devel` by the Dockerfile that people write first (bench/naive/Dockerfile)."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from docker_api.api import DockerApi
from docker_api.builds import Build, build
from images.lock import LAYERS, asked_for
from images.variants import Variant

RECIPE = Path(__file__).parent / "naive" / "Dockerfile"
TAG = "cslr-bench/naive"
# Contents of a CUDA devel base for the variant's torch; as wheels, since such a base is not available everywhere.
CUDA_DEVEL = "cuda-toolkit[all]==13.0.2 nvidia-cudnn-cu13 nvidia-nccl-cu13"


@dataclass(frozen=True, kw_only=True)
class NaiveRun:
    """One build of it."""

    scenario: str
    seconds: float
    size: int  # bytes, unpacked


class Naive:
    """One project that is built the naive way, on an existing base."""

    def __init__(self, api: DockerApi, folder: Path, base: str, variant: Variant) -> None:
        self._api = api
        self._folder = folder
        self._base = base
        self._variant = variant
        folder.mkdir()
        shutil.copy(RECIPE, folder / "Dockerfile")
        packages = [item for layer in LAYERS for item in asked_for(layer, variant)]
        (folder / "requirements.txt").write_text("\n".join(packages) + "\n")
        (folder / "train.py").write_text("print('one')\n")

    def build(self, scenario: str) -> NaiveRun:
        """Builds the folder's present content."""
        wanted = Build(
            tag=TAG,
            context=self._folder,
            dockerfile=self._folder / "Dockerfile",
            target=None,
            args={"BASE": self._base, "PYTHON": self._variant.python, "CUDA_DEVEL": CUDA_DEVEL},
            platform="linux/amd64",
        )
        began = time.monotonic()
        build(self._api, wanted, lambda _: None)
        seconds = time.monotonic() - began
        return NaiveRun(
            scenario=scenario, seconds=round(seconds, 1), size=self._api.call("GET", f"/images/{TAG}/json")["Size"]
        )

    def change(self, name: str, old: str, new: str) -> None:
        """Changes a file of the project."""
        file = self._folder / name
        file.write_text(file.read_text().replace(old, new))

    def remove(self) -> None:
        """Removes its image."""
        if self._api.find(f"/images/{TAG}/json"):
            self._api.call("DELETE", f"/images/{TAG}", query={"force": "true"})
