"""The images of the transcription service as `docker run` starts them, without a stack and without any network.

The image for GPUs is tested where it was built: it stands on one of 8 GB. No driver is needed: what its libraries do on
a GPU is not tested.
"""

import json
import subprocess
import sys
from typing import Any

import docker
import pytest

from docker_api.api import DockerApi
from images.catalog import CATALOG, FOLDER
from images.lockfile import locked
from stack.programs import program_path
from testing.harness import PROJECT

pytestmark = pytest.mark.live

WITH_PYTHON = program_path("with_python.sh")
CPU, CUDA = "transcription-backend", "transcription-backend-cuda"
LOCKED = locked(FOLDER / CPU / "requirements.txt")
HEARS = """
import json
from faster_whisper import WhisperModel
model = WhisperModel("/opt/models/whisper-base", device="cpu", compute_type="int8", local_files_only=True)
found, about = model.transcribe("/opt/examples/english.wav", language="en", vad_filter=True)
print(json.dumps(" ".join(segment.text for segment in found).lower()))
"""
HOLDS = """
import ctranslate2, faster_whisper, onnxruntime, av, fastapi, pympi, pysubs2, rapidfuzz
import importlib.metadata, importlib.util, json, os
print(json.dumps({
    "versions": {found.name.lower().replace("_", "-"): found.version for found in importlib.metadata.distributions()},
    "torch": importlib.util.find_spec("torch") is not None,
    "user": os.getuid(),
}))
"""
# What CTranslate2 opens by name, except the driver; the versions are asked of the libraries themselves.
LIBRARIES = """
import ctranslate2, ctypes, json, re
from pathlib import Path
folder = Path(ctranslate2.__file__).parent.parent / "ctranslate2.libs"
text = b"".join(path.read_bytes() for path in folder.glob("libctranslate2*"))
names = {name.decode() for name in re.findall(rb"lib(?:cu|nv|nccl)[a-zA-Z]*[.]so[.][0-9]+", text)} - {"libcuda.so.1"}
for name in names:
    ctypes.CDLL(name)
asked = {"libcublasLt.so.12": "cublasLtGetVersion", "libcudnn.so.9": "cudnnGetVersion"}
functions = {name: getattr(ctypes.CDLL(name), function) for name, function in asked.items()}
for function in functions.values():
    function.restype = ctypes.c_size_t
versions = {name: function() for name, function in functions.items()}
print(json.dumps({"opened": sorted(names), "versions": versions}))
"""
LOADS = """
import json
from faster_whisper import WhisperModel
try:
    WhisperModel("/opt/models/whisper-base", device="cuda", compute_type="float16", local_files_only=True)
    said = "loaded"
except (RuntimeError, ValueError) as error:
    said = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module", params=[CPU, CUDA])
def image(request: pytest.FixtureRequest, docker_engine: None) -> str:
    """Its name, or that of the newest there is."""
    if request.param == CPU:
        command = [sys.executable, "-m", "ws", "build", CPU]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[-1]
    return on_gpus()


@pytest.fixture(scope="module")
def cuda_image(docker_engine: None) -> str:
    return on_gpus()


def on_gpus() -> str:
    images = DockerApi().call("GET", "/images/json")  # the newest first
    names = (name for one in images for name in one["RepoTags"] or () if f"/{CUDA}:" in name)
    if name := next(names, None):
        return str(name)
    pytest.skip(f"the image for GPUs is not here: ws matrix --service {CUDA} --python 3.13")


def inside(image: str, program: str) -> Any:
    """What a Python program says in the image, started as a stack does, with as few rights."""
    output = docker.from_env().containers.run(
        image,
        ["sh", WITH_PYTHON, "-c", program],
        volumes=[f"{PROJECT}/entrypoints/with_python.sh:{WITH_PYTHON}:ro"],
        remove=True,
        read_only=True,
        tmpfs={"/tmp": "noexec,nosuid,nodev"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        network_mode="none",
        environment={"OMP_WAIT_POLICY": "PASSIVE"},
        stderr=False,
    )
    return json.loads(output.decode().strip().splitlines()[-1])


class TestEachImage:
    def test_hears_the_sentence_that_it_brings(self, image):
        heard = inside(image, HEARS)
        assert all(word in heard for word in ("tomorrow", "sunny", "warm", "south")), heard

    def test_holds_what_is_locked_and_no_torch(self, image):
        found = inside(image, HOLDS)
        assert {name: found["versions"].get(name) for name in LOCKED} == LOCKED
        assert found["torch"] is False
        assert found["user"] == 1000


class TestImageForGpus:
    def test_finds_what_ctranslate2_opens_among_the_familys_libraries(self, cuda_image):
        found = inside(cuda_image, LIBRARIES)
        assert found["opened"] == [f"libcublas.so.{CATALOG[CUDA].cuda}", "libnccl.so.2"]
        assert found["versions"]["libcublasLt.so.12"] // 10000 == CATALOG[CUDA].cuda
        assert found["versions"]["libcudnn.so.9"] // 10000 == 9

    def test_without_a_driver_says_so(self, cuda_image):
        assert "CUDA driver version is insufficient" in inside(cuda_image, LOADS)

    def test_adds_half_a_gigabyte_at_most(self, cuda_image):
        api = DockerApi()
        history = api.call("GET", f"/images/{cuda_image}/history")
        own = history[: next(n for n, step in enumerate(history) if "install.py" in step["CreatedBy"])]
        assert sum(step["Size"] for step in own) <= 500_000_000
