"""GPUs before a deployment: NVML's answers are read correctly, and unusable settings are refused with a remedy.

NVML is the driver's library; here it is a small one of our own, which a process of its own loads in its place.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.platform import PlatformSettings
from config.problems import SettingsError, Together
from preflight.gpu_facts import Gpu, GpuFacts
from preflight.host import HostFacts, check, notices

FILE = "Pulumi.gpu.yaml"
GPU = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}
FAKE = Path(__file__).with_name("fake_nvml.c")
PROBE = """
import dataclasses, json
from preflight.gpu_facts import GpuFacts
print(json.dumps(dataclasses.asdict(GpuFacts.probe())))
"""


@pytest.fixture(scope="module")
def library(c_compiler, tmp_path_factory) -> Path:
    """The folder with the fake NVML."""
    folder: Path = tmp_path_factory.mktemp("nvml")
    command = [
        str(c_compiler),
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(folder / "libnvidia-ml.so.1"),
    ]
    subprocess.run([*command, str(FAKE)], check=True)
    return folder


def probed(library: Path, **told: str) -> GpuFacts:
    """What is read from NVML where it is told something."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(library)} | {f"FAKE_NVML_{k}": v for k, v in told.items()}
    command = [sys.executable, "-c", PROBE]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    for name in ("gpus", "parts"):
        found[name] = None if found[name] is None else tuple(Gpu(**gpu) for gpu in found[name])
    return GpuFacts(**found)


class TestNvml:
    def test_tells_driver_and_gpus(self, library):
        facts = probed(library, DRIVER="580.95.05", GPUS="GPU-1a,GPU-2b")
        assert (facts.driver, facts.branch, facts.silence) == ("580.95.05", 580, "")
        assert facts.gpus == (
            Gpu(number=0, uuid="GPU-1a", name="NVIDIA Fake"),
            Gpu(number=1, uuid="GPU-2b", name="NVIDIA Fake"),
        )
        assert facts.parts == ()

    def test_tells_the_parts_of_a_gpu_in_mig_mode(self, library):
        facts = probed(library, DRIVER="580.1", GPUS="GPU-1a,GPU-2b", MIG="MIG-x,,MIG-y")
        assert [(part.number, part.uuid) for part in facts.parts] == [(0, "MIG-x"), (0, "MIG-y")]
        assert facts.knows("MIG-y")

    def test_tells_that_there_is_no_gpu(self, library):
        assert probed(library, DRIVER="580.1").gpus == ()

    @pytest.mark.parametrize(
        ("error", "silence", "remedy"),
        [
            ("9", "the NVIDIA driver is installed, but the kernel has not loaded it", "sudo modprobe nvidia"),
            ("18", "the NVIDIA driver was updated, but the kernel still has the old one", "sudo reboot"),
            ("4", "this user may not ask the NVIDIA driver", "ls -l /dev/nvidiactl"),
            ("999", "NVML fails: ", "nvidia-smi"),
        ],
    )
    def test_keeps_silent_for_a_reason(self, library, error, silence, remedy):
        facts = probed(library, INIT=error)
        assert facts.silence.startswith(silence)
        assert (facts.remedy, facts.gpus) == (remedy, None)

    def test_that_is_not_there_means_no_driver(self, tmp_path):
        """Even on a machine with GPUs: a library that cannot be loaded stands before the driver's own."""
        (tmp_path / "libnvidia-ml.so.1").write_text("no library")
        facts = probed(tmp_path)
        assert facts.silence == "this host has no NVIDIA driver"
        assert "install" in facts.remedy

    def test_is_asked_for_only_where_the_stack_offers_gpus(self, monkeypatch):
        monkeypatch.setattr(GpuFacts, "probe", lambda: GpuFacts(driver="asked"))
        assert HostFacts.probe("cslr", "dev").gpus.driver == ""
        assert HostFacts.probe("cslr", "dev", gpus=True).gpus.driver == "asked"


SOUND = GpuFacts(
    driver="580.95.05",
    gpus=(Gpu(number=0, uuid="GPU-1a", name="NVIDIA H100"), Gpu(number=1, uuid="GPU-2b", name="NVIDIA H100")),
    parts=(Gpu(number=1, uuid="MIG-3c", name="NVIDIA H100 MIG 1g.10gb"),),
)
HOST = HostFacts(cpus=32, memory_bytes=2**38, docker_reachable=True, gpu_runtime=True, gpus=SOUND)


def settings(**further: Any) -> PlatformSettings:
    raw = json.loads(json.dumps(GPU))
    for key, value in further.items():
        raw[key] = raw.get(key, {}) | value
    return load(raw, stack_file=FILE)


def refusal(host: HostFacts, **further: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        check(settings(**further), host, FILE)
    return str(caught.value)


def with_gpus(**changes: Any) -> HostFacts:
    return dataclasses.replace(HOST, gpus=dataclasses.replace(SOUND, **changes))


class TestDriver:
    def test_of_the_right_branch_is_accepted(self):
        check(settings(), HOST, FILE)
        check(settings(), with_gpus(driver="590.1"), FILE)

    def test_that_is_too_old_for_the_pair_is_refused_with_one_that_it_runs(self):
        text = refusal(with_gpus(driver="575.57.08"))
        assert f"{FILE}: cslr:platform.images.cuda: CUDA 13.1.1 needs an NVIDIA driver of branch 580 or newer" in text
        assert "this host has 575.57.08" in text
        assert "ws set images.cuda 12.8.1 images.python 3.13 -s gpu" in text

    @pytest.mark.parametrize("driver", ["570.26", "575.57.08"])
    def test_that_is_right_for_an_older_pair_is_accepted(self, driver):
        older = settings(images={"cuda": "12.8.1", "python": "3.13"})
        check(older, with_gpus(driver=driver), FILE)
        assert not list(notices(older, with_gpus(driver=driver)))

    @pytest.mark.parametrize("driver", ["525.60.13", "535.183.01", "560.35.03"])
    def test_that_is_older_than_the_toolkit_of_cuda_12_is_accepted_with_a_warning(self, driver):
        older = settings(images={"cuda": "12.8.1", "python": "3.13"})
        check(older, with_gpus(driver=driver), FILE)
        (notice,) = notices(older, with_gpus(driver=driver))
        assert notice.warning
        assert f"driver branch 570; this host has {driver}" in notice.text

    def test_no_warning_is_given_without_gpus_or_for_a_pulled_image(self):
        old = with_gpus(driver="535.183.01")
        pulled = {"enabled": True, "image": {"source": "pull", "reference": "rayproject/ray:2.60.0-gpu"}}
        older = {"cuda": "12.8.1", "python": "3.13"}
        assert not list(notices(settings(images=older, ray={"gpu": pulled}), old))
        assert not list(notices(load({"images": older}, stack_file=FILE), old))

    def test_that_is_too_old_for_every_pair_must_be_updated(self):
        text = refusal(with_gpus(driver="470.256.02"), images={"cuda": "12.8.1", "python": "3.13"})
        assert "CUDA 12.8.1 needs an NVIDIA driver of branch 525 or newer; this host has 470.256.02" in text
        assert "Update the driver." in text

    def test_does_not_matter_to_a_pulled_image(self):
        pulled = {"enabled": True, "image": {"source": "pull", "reference": "rayproject/ray:2.60.0-gpu"}}
        check(settings(ray={"gpu": pulled}), with_gpus(driver="535.1"), FILE)

    def test_that_is_not_there_is_refused_with_what_to_do(self):
        silent = GpuFacts(silence="this host has no NVIDIA driver", remedy="sudo apt-get install nvidia-driver")
        text = refusal(dataclasses.replace(HOST, gpus=silent))
        assert f"{FILE}: cslr:platform.gpu.enabled: this host has no NVIDIA driver." in text
        assert "    sudo apt-get install nvidia-driver\n" in text
        assert "ws set gpu.enabled false" in text

    def test_does_not_matter_to_a_stack_without_gpus(self):
        check(load({}, stack_file=FILE), with_gpus(driver="1.0", gpus=(), silence="no driver"), FILE)


class TestDevices:
    @pytest.mark.parametrize("devices", ["all", [0], [0, 1], ["GPU-2b"], ["MIG-3c"], ["MIG-GPU-2b/1/0"]])
    def test_that_are_there_are_accepted(self, devices):
        check(settings(gpu={"devices": devices}), HOST, FILE)

    @pytest.mark.parametrize("device", [2, "GPU-9z", "MIG-9z"])
    def test_that_are_not_are_refused_with_those_that_are(self, device):
        text = refusal(HOST, gpu={"devices": [0, device]})
        assert f"{FILE}: cslr:platform.gpu.devices[1]: there is no GPU {device} on this host" in text
        assert "0 NVIDIA H100 (GPU-1a), 1 NVIDIA H100 (GPU-2b), 1 NVIDIA H100 MIG 1g.10gb (MIG-3c)" in text
        assert "ws set gpu.devices all" in text

    def test_are_all_missing_on_a_host_without(self):
        text = refusal(with_gpus(gpus=(), parts=()))
        assert "cslr:platform.gpu.enabled: the NVIDIA driver sees no GPU on this host" in text

    def test_that_nobody_was_asked_for_are_believed(self):
        check(settings(gpu={"devices": [7]}), dataclasses.replace(HOST, gpus=GpuFacts()), FILE)


class TestSharesOfTheHost:
    """ray-cpu and ray-gpu: neither may claim the whole host."""

    def test_that_fit_are_accepted(self):
        check(settings(), dataclasses.replace(HOST, cpus=4, memory_bytes=22 * 2**30), FILE)

    def test_of_cores_are_divided(self):
        ray = {"cpu": {"cpus": 6}, "gpu": {"enabled": True, "cpus": 8}}
        text = refusal(dataclasses.replace(HOST, cpus=8), ray=ray)
        assert "ray.cpu.cpus: 6 of ray-cpu and 8 of ray-gpu are 14, more than the 8 CPU cores of this host" in text
        assert "ws set ray.cpu.cpus 3 ray.gpu.cpus 4.5 -s gpu" in text

    def test_of_memory_are_divided(self):
        ray = {"cpu": {"memory": "24g"}, "gpu": {"enabled": True, "memory": "24g"}}
        text = refusal(dataclasses.replace(HOST, memory_bytes=32 * 2**30), ray=ray)
        assert "ray.cpu.memory: 24g of ray-cpu and 24g of ray-gpu are 48g, more than the 32.0g of this host" in text
        assert "ray.cpu.memory 12g" in text
        assert "ray.gpu.memory 12g" in text

    def test_of_memory_that_is_too_little_for_both_leave_one(self):
        ray = {"cpu": {"memory": "3g"}, "gpu": {"enabled": True, "memory": "3g"}}
        text = refusal(dataclasses.replace(HOST, memory_bytes=4 * 2**30, cpus=4), ray=ray)
        assert "That is too little for all of them." in text
        assert "ray.cpu.enabled false" in text

    def test_are_what_an_error_says_to_set(self):
        """Following the remedy causes no second error."""
        ray: dict[str, dict[str, Any]] = {
            "cpu": {"cpus": 6, "memory": "24g"},
            "gpu": {"enabled": True, "cpus": 8, "memory": "24g"},
        }
        host = dataclasses.replace(HOST, cpus=8, memory_bytes=32 * 2**30)
        with pytest.raises(SettingsError) as caught:
            check(settings(ray=ray), host, FILE)
        for problem in caught.value.problems:
            for command in problem.commands:
                assert isinstance(command, Together)
                for change in command.changes:
                    _, node, key = map(str, change.path)
                    ray[node][key] = change.value
        check(settings(ray=ray), host, FILE)

    def test_of_one_node_may_be_all_of_it(self):
        only = load({"ray": {"cpu": {"cpus": 8, "memory": "8g"}}}, stack_file=FILE)
        check(only, dataclasses.replace(HOST, cpus=8, memory_bytes=8 * 2**30), FILE)
