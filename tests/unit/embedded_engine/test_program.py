"""The program under the embedded engine: order, failures, outputs, and unsupported features."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from config.stack_file import StackConfig
from embedded_engine.program import Monitor, Outcome, ProgramError, run_program
from embedded_engine.registration import Registration
from stack.pulumi_internals import Unknown

HEAD = """
import pulumi

class Box(pulumi.CustomResource):
    made: pulumi.Output[str]

    def __init__(self, name, content, opts=None):
        super().__init__("test:index:Box", name, {"content": content, "made": None}, opts)

"""
CHAIN = """
first = Box("first", "a")
second = Box("second", first.made, pulumi.ResourceOptions(depends_on=[first]))
Box("beside", "c")
pulumi.export("made", second.made)
"""


@pytest.fixture
def run(tmp_path):
    """Runs a program; returns its outputs."""

    def run(text: str, handler, *, preview: bool = False, values: dict[str, str] | None = None):
        (tmp_path / "__main__.py").write_text(HEAD + text)
        secret = frozenset(key for key in values or {} if "secret" in key)
        config = StackConfig(project="test", stack="dev", values=values or {}, secret_keys=secret)
        return run_program(tmp_path, config, Monitor(handler), preview=preview)

    return run


class Boxes:
    """Makes boxes, except those that it is told to fail."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.seen: dict[str, Registration] = {}

    def __call__(self, wanted: Registration) -> Outcome:
        self.seen[wanted.name] = wanted
        return None if wanted.name in self.failing else (wanted.name, {"made": f"box {wanted.name}"})


class TestOrder:
    def test_what_a_resource_made_reaches_what_needs_it(self, run):
        boxes = Boxes()
        assert run(CHAIN, boxes) == {"made": "box second"}
        assert boxes.seen["second"].inputs["content"] == "box first"
        assert boxes.seen["second"].dependencies == (boxes.seen["first"].urn,)

    def test_a_part_of_a_component_says_of_which(self, run):
        boxes = Boxes()
        component = "pulumi.ComponentResource('test:index:Shelf', 'shelf')"
        run(f"Box('inner', 'x', pulumi.ResourceOptions(parent={component}))\nBox('outer', 'x')\n", boxes)
        assert boxes.seen["inner"].owner == "shelf"

    def test_independent_ones_are_made_at_the_same_time(self, run):
        together = threading.Barrier(8, timeout=20)

        def wait_for_all(wanted: Registration) -> Outcome:
            together.wait()
            return wanted.name, {}

        run("for i in range(8):\n    Box(f'box-{i}', 'x')\n", wait_for_all)


class TestFailure:
    def test_does_not_stop_what_is_independent(self, run):
        boxes = Boxes("first")
        began = time.monotonic()
        run(CHAIN, boxes)
        assert time.monotonic() - began < 10
        assert set(boxes.seen) == {"first", "beside", "second"}, "what needs it is seen, to be reported as skipped"

    def test_leaves_the_next_run_unharmed(self, run):
        run(CHAIN, Boxes("first"))
        assert run(CHAIN, Boxes()) == {"made": "box second"}

    def test_that_the_program_reports_is_its_own_sentence(self, run):
        with pytest.raises(ProgramError) as caught:
            run("raise pulumi.RunError('Pulumi.dev.yaml: no')\n", Boxes())
        assert str(caught.value) == "Pulumi.dev.yaml: no"

    def test_leaves_folder_and_search_path_as_they_were(self, run):
        before = Path.cwd(), list(sys.path)
        with pytest.raises(ProgramError):
            run("raise pulumi.RunError('no')\n", Boxes())
        assert (Path.cwd(), list(sys.path)) == before


class TestInterrupt:
    def test_begins_nothing_more(self, run):
        seen = []

        def interrupted(wanted: Registration) -> Outcome:
            seen.append(wanted.name)
            if wanted.name == "first":
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.3)
            return wanted.name, {"made": "x"}

        with pytest.raises(KeyboardInterrupt):
            run(CHAIN, interrupted)
        assert "second" not in seen
        assert run(CHAIN, Boxes()) == {"made": "box second"}, "the next run is not disturbed"


class TestPreview:
    def test_passes_on_that_something_is_not_known(self, run):
        seen = {}

        def nothing_made(wanted: Registration) -> Outcome:
            seen[wanted.name] = wanted
            return "", {}

        assert run(CHAIN, nothing_made, preview=True) == {}
        assert isinstance(seen["second"].inputs["content"], Unknown)
        assert seen["second"].recorded["content"] == "[not known yet]"


class TestConfig:
    def test_is_that_of_the_stack(self, run):
        values = {"test:plain": "a", "test:object": '{"b": 1}'}
        program = (
            "c = pulumi.Config()\n"
            "pulumi.export('all', [c.get('plain'), c.get_object('object'), pulumi.get_stack(), c.get('missing')])\n"
        )
        assert run(program, Boxes(), values=values) == {"all": ["a", {"b": 1}, "dev", None]}

    def test_secret_stays_one(self, run):
        boxes = Boxes()
        program = "s = pulumi.Config().require_secret('secret')\nBox('box', s)\npulumi.export('secret', s)\n"
        assert run(program, boxes, values={"test:secret": "hunter22"}) == {"secret": "[secret]"}
        assert boxes.seen["box"].inputs["content"] == "hunter22", "the engine needs it"
        assert "hunter22" not in str(boxes.seen["box"].recorded)


class TestLimits:
    def test_function_of_a_provider_is_refused_by_name(self, run):
        with pytest.raises(Exception, match="does not know the function test:index:get"):
            run("pulumi.export('x', pulumi.runtime.invoke('test:index:get', {}).value)\n", Boxes())


def test_program_runs_in_its_own_folder(run, tmp_path):
    program = "import os\npulumi.export('folder', os.getcwd())\n"
    assert run(program, Boxes()) == {"folder": os.path.realpath(tmp_path)}
