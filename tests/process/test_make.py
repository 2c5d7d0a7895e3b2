"""The Makefile's targets, run through `make`."""

import subprocess

from testing.harness import PROJECT


def test_alone_prints_help_and_does_nothing():
    done = subprocess.run(["make", "-C", str(PROJECT)], capture_output=True, text=True, check=True)
    assert "make up" in done.stdout
    assert "make test" in done.stdout
    assert "installing" not in done.stdout
    assert done.stderr == ""
