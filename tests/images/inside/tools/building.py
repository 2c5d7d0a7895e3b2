"""The compilers work together with Python and torch: what a developer builds, builds, links and runs."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch.utils import cpp_extension

SECONDS = 240
TOOLS = ("gcc", "g++", "make", "cmake", "ninja", "git", "gdb", "strace")
# Only the header that an operator needs: torch/extension.h would take a minute to compile.
OPERATOR = """
#include <torch/library.h>

static at::Tensor doubled(const at::Tensor& x) { return x.add(x); }

TORCH_LIBRARY(cslr_image_test, library) { library.def("doubled", doubled); }
"""
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(test LANGUAGES C CXX)
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
Python_add_library(answer MODULE answer.c)
"""
C_MODULE = """
#include <Python.h>

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "answer", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_answer(void) {
    PyObject *module = PyModule_Create(&definition);
    PyModule_AddIntConstant(module, "answer", 42);
    return module;
}
"""


def run(*command: str | Path, folder: str | Path) -> str:
    """Run a program to its end and return its output. Raises AssertionError if it fails."""
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


def check_every_tool_is_there_and_runs() -> None:
    """By its version."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    assert not missing, f"not on PATH: {missing}"
    for tool in TOOLS:
        run(tool, "--version", folder="/")


def check_cmake_and_ninja_build_an_extension_of_python() -> None:
    """In C, with the headers of this very Python."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "CMakeLists.txt").write_text(CMAKE)
        Path(folder, "answer.c").write_text(C_MODULE)
        python = shutil.which("python") or "python"
        run("cmake", "-G", "Ninja", f"-DPython_EXECUTABLE={python}", "-B", "build", folder=folder)
        run("cmake", "--build", "build", folder=folder)
        assert run(python, "-c", "import answer; print(answer.answer)", folder=Path(folder, "build")).strip() == "42"


def check_torch_builds_and_loads_an_extension_in_cpp() -> None:
    """By torch.utils.cpp_extension, with g++ and ninja."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "operator.cpp")
        source.write_text(OPERATOR)
        cpp_extension.load(
            "cslr_image_test", [str(source)], build_directory=folder, is_python_module=False, extra_cflags=["-O0"]
        )
        assert torch.ops.cslr_image_test.doubled(torch.ones(3)).tolist() == [2.0] * 3
