"""nvcc compiles and links a kernel, or says why this image has none."""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import SkipTest

SECONDS = 150
SUBJECT = json.loads(os.environ["CSLR_SUBJECT"])
NO_GPU = ("100", "35")  # cudaErrorNoDevice, cudaErrorInsufficientDriver: what the runtime says where no driver is
KERNEL = """
#include <cstdio>
#include <cuda_runtime.h>
#include <cub/block/block_reduce.cuh>

__global__ void add(const float* a, const float* b, float* total) {
    total[threadIdx.x] = a[threadIdx.x] + b[threadIdx.x];
}

int main() {
    const int count = 64;
    float *a, *b, *total, result[count];
    float ones[count];
    for (int i = 0; i < count; ++i) ones[i] = 1;
    cudaError_t error = cudaMalloc(&a, sizeof ones);
    if (error != cudaSuccess) { std::printf("%d", error); return 0; }
    cudaMalloc(&b, sizeof ones);
    cudaMalloc(&total, sizeof ones);
    cudaMemcpy(a, ones, sizeof ones, cudaMemcpyHostToDevice);
    cudaMemcpy(b, ones, sizeof ones, cudaMemcpyHostToDevice);
    add<<<1, count>>>(a, b, total);
    error = cudaMemcpy(result, total, sizeof result, cudaMemcpyDeviceToHost);
    std::printf("%s", error == cudaSuccess && result[count - 1] == 2 ? "added" : cudaGetErrorString(error));
}
"""


def needs_nvcc() -> None:
    """Raise SkipTest where the label says that there is none."""
    if SUBJECT["nvcc"] == "none":
        raise SkipTest("this image has no nvcc, as its label says: no source of it was reachable")


def nvcc(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run nvcc to its end."""
    return subprocess.run(
        ["nvcc", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )


@functools.cache
def kernel() -> Path:
    """The program, compiled and linked once, for the virtual architecture that all GPUs from Turing on can run."""
    folder = Path(tempfile.mkdtemp())
    source, program = folder / "add.cu", folder / "add"
    source.write_text(KERNEL)
    done = nvcc("-arch=compute_75", "-code=compute_75,sm_90", "-o", program, source)
    assert done.returncode == 0, done.stdout
    return program


def check_version_is_the_labels() -> None:
    """Of the toolkit that the variant names."""
    needs_nvcc()
    found = re.search(r"release [\d.]+, V([\d.]+)", nvcc("--version").stdout)
    assert found
    assert found[1].startswith(SUBJECT["nvcc"]) or SUBJECT["nvcc"].startswith(found[1].rsplit(".", 1)[0])


def check_missing_one_says_why() -> None:
    """In place of "command not found"."""
    if SUBJECT["nvcc"] != "none":
        raise SkipTest("this image has nvcc")
    assert shutil.which("nvcc"), "no nvcc on PATH that would say why there is none"
    done = nvcc("--version")
    assert done.returncode != 0
    assert SUBJECT["cuda"] in done.stdout, done.stdout


def check_kernel_compiles_links_and_runs(device: str) -> None:
    """Where there is no GPU, as far as the runtime's own word that there is none."""
    needs_nvcc()
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})
    done = subprocess.run([kernel()], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout in (NO_GPU if device == "cpu" else ("added",)), done.stdout + done.stderr


def check_torch_finds_the_toolkit() -> None:
    """Where cpp_extension looks for it."""
    needs_nvcc()
    from torch.utils import cpp_extension

    assert cpp_extension.CUDA_HOME
    assert Path(cpp_extension.CUDA_HOME, "bin", "nvcc").exists()
