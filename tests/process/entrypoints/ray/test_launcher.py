"""The process that imports Ray and waits to be told what to start."""

import os
import subprocess

from entrypoints.ray import launcher


class TestStandingBy:
    def test_without_an_order_it_ends(self):
        process = launcher.prepare(os.environ)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0

    def test_the_order_takes_the_place_of_the_environment_and_arguments(self):
        process = launcher.prepare(os.environ)
        launcher.begin(process, ["--help"], dict(os.environ) | {"COLUMNS": "80"})
        assert process.wait(60) == 0
        assert process.stdin
        assert process.stdin.closed

    def test_an_order_to_a_process_that_has_ended_is_no_error(self):
        process = subprocess.Popen(["true"], stdin=subprocess.PIPE)
        process.wait()
        launcher.begin(process, ["--head"], {})
