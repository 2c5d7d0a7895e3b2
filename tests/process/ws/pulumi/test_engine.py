"""The genuine engine seen through its command line: a stand-in CLI repeats recorded output of the real one."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from build_report.runs import current_run
from build_report.store import Store
from embedded_engine.changes import Scope
from embedded_engine.deployment import Action, Change
from embedded_engine.lock import LockedError
from embedded_engine.program import ProgramError
from stack.identity import StackIdentity
from stack.owner import StackObject
from stack.state import stack_folder
from testing.stack_files import written
from ws.errors import WsError
from ws.pulumi import engine as pulumi_engine
from ws.pulumi import policy_pack
from ws.pulumi.engine import PulumiEngine

Json = dict[str, Any]
Answer = tuple[list[Json] | Json, str, int]  # events or one document, stderr, exit code

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/image:Image"
STACK_URN = "urn:pulumi:dev::cslr::pulumi:pulumi:Stack::cslr-dev"


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:dev::cslr::{kind}::{name}"


def step(event: str, op: str, name: str = "redis-container", kind: str = CONTAINER, **states: Any) -> Json:
    state = {"type": kind, "urn": urn(kind, name), "custom": not kind.startswith("cslr:"), "inputs": {}, "outputs": {}}
    known = {key: {**state, **fields} for key, fields in (states or {"new": {}}).items()}
    return {event: {"metadata": {"op": op, "urn": urn(kind, name), "type": kind, "detailedDiff": None, **known}}}


def says(text: str, severity: str, about: str = "") -> Json:
    return {"diagnosticEvent": {"urn": about, "severity": severity, "message": f"<{{%reset%}}>{text}<{{%reset%}}>\n"}}


def state(*urns: str) -> Answer:
    """What `pulumi stack export` answers."""
    return {"version": 3, "deployment": {"resources": [{"urn": urn} for urn in urns]}}, "", 0


def locked(pid: int, host: str = socket.gethostname()) -> Answer:
    """What the CLI says of a stack that another run has locked."""
    return (
        [],
        (
            "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or "
            "delete the lock file with `pulumi cancel`.\n"
            f"  file:///b/.pulumi/locks/organization/cslr/dev/1.json: created by root@{host} (pid {pid}) at 2026-11-27"
        ),
        255,
    )


INPUTS: Json = {"imageName": "cslr/redis:1", "build": {"platform": "linux/amd64"}}


class Docker:
    """An Engine with images."""

    there: Callable[[str], bool] = staticmethod(lambda _: True)

    def find(self, path: str) -> Json | None:
        return {"Id": "sha256:1"} if type(self).there(path) else None

    def call(self, *_: str) -> Json:
        return {"Version": "20.10", "DockerRootDir": "/"}


class Recorder:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def started(self, change: Change) -> None:
        self.told.append(("started", change.name))

    def progress(self, change: Change, text: str) -> None:
        self.told.append((text, change.name))

    def ended(self, change: Change) -> None:
        self.told.append(("failed" if change.error else "ended", change.name))

    def interrupted(self) -> None:
        self.told.append(("interrupted", ""))


@pytest.fixture
def deployed(tmp_path, monkeypatch):
    """Gives an engine whose CLI answers each call with the next of some scripts, and keeps what it was called with."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(pulumi_engine, "host_now", lambda _identity: [])
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: cslr\n")
    (project / "Pulumi.dev.yaml").write_text("config: {}\n")

    def prepare(*answers: Answer):
        cli = tmp_path / "pulumi"
        for number, (events, errors, code) in enumerate(answers):
            # Events come one a line; any other answer is one document.
            documents = events if isinstance(events, list) else [events]
            text = "".join(json.dumps(document) + "\n" for document in documents)
            (tmp_path / f"answer{number}.json").write_text(json.dumps([text, errors, code]))
        cli.write_text(
            f"#!{sys.executable}\n"
            "import json, os, pathlib, sys\n"
            f"folder = pathlib.Path({str(tmp_path)!r})\n"
            "calls = folder / 'calls'\n"
            "number = len(calls.read_text().splitlines()) if calls.exists() else 0\n"
            "with calls.open('a') as file: file.write(json.dumps([os.getcwd(), *sys.argv[1:]]) + '\\n')\n"
            "config = next((b for a, b in zip(sys.argv, sys.argv[1:]) if a == '--config-file'), 'Pulumi.dev.yaml')\n"
            "with open(config, 'a') as file: file.write('encryptionsalt: x\\n')\n"
            "out, errors, code = json.loads((folder / f'answer{number}.json').read_text())\n"
            "sys.stdout.write(out); sys.stderr.write(errors); sys.exit(code)\n"
        )
        cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
        display = Recorder()
        return PulumiEngine(cli, project, written("config: {}\n"), display), display

    prepare.project = project  # type: ignore[attr-defined]
    prepare.calls = lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]  # type: ignore[attr-defined]
    return prepare


class TestEventsBecomeChanges:
    def test_what_stays_is_unchanged_and_not_shown(self, deployed):
        engine, display = deployed(([step("resourcePreEvent", "same"), step("resOutputsEvent", "same")], "", 0))
        result = engine.up()
        assert [change.action for change in result.changes] == [Action.SAME]
        assert result.unchanged
        assert display.told == [("ended", "redis-container")]

    def test_a_replacement_of_several_steps_is_one_change_with_its_reason(self, deployed):
        states: dict[str, Any] = {
            "old": {"inputs": {"memory": 512}},
            "new": {"inputs": {"memory": 1024, "__defaults": []}},
        }
        events = [
            step(event, op, **states)
            for op in ("delete-replaced", "replace", "create-replacement")
            for event in ("resourcePreEvent", "resOutputsEvent")
        ]
        engine, display = deployed((events, "", 0))
        [change] = engine.up().changes
        assert change.action is Action.REPLACE
        assert change.reasons == ["memory: 512 → 1024"]
        assert display.told == [("started", "redis-container"), ("ended", "redis-container")]

    def test_components_providers_and_refreshing_are_no_changes(self, deployed):
        events = [
            step("resourcePreEvent", "create", "platform", "cslr:platform:Platform"),
            step("resourcePreEvent", "create", "default", "pulumi:providers:docker"),
            step("resourcePreEvent", "refresh"),
        ]
        engine, _ = deployed((events, "", 0))
        assert engine.up().changes == []

    def test_volumes_that_are_kept_are_not_reported_as_deleted(self, deployed):
        event = step("resOutputsEvent", "delete", old={"retainOnDelete": True})
        engine, _ = deployed(([event], "", 0))
        assert engine.destroy().changes == []

    def test_images_are_not_reported_as_deleted_since_they_stay(self, deployed):
        event = step("resOutputsEvent", "delete", "redis", "docker:index/image:Image", old={})
        engine, _ = deployed(([event], "", 0))
        assert engine.destroy().changes == []

    def test_outputs_are_those_of_the_stack(self, deployed):
        outputs = {"outputs": {"urls": {"a": "b"}}}
        event = step("resOutputsEvent", "update", "cslr-dev", "pulumi:pulumi:Stack", new=outputs)
        engine, _ = deployed(([event], "", 0))
        assert engine.up().outputs == {"urls": {"a": "b"}}


class TestFailures:
    def test_a_resource_fails_with_what_its_provider_said(self, deployed):
        events = [
            step("resourcePreEvent", "create"),
            says("error: no such image", "error", urn(CONTAINER, "redis-container")),
            step("resOpFailedEvent", "create"),
        ]
        engine, display = deployed((events, "error: update failed", 255))
        result = engine.up()
        assert [change.error for change in result.failed] == ["no such image"]
        assert display.told[-1] == ("failed", "redis-container")

    def test_what_the_program_refuses_is_in_its_own_words(self, deployed):
        said = "Pulumi.dev.yaml: cslr:platform.redis.port: 0 is no port."
        engine, _ = deployed(([says(said, "error", STACK_URN), says("exited with 1", "error")], "", 255))
        with pytest.raises(ProgramError) as refused:
            engine.preview()
        assert str(refused.value) == said

    def test_what_the_cli_itself_refuses_is_shown(self, deployed):
        engine, _ = deployed(([], "error: incorrect passphrase", 255))
        with pytest.raises(WsError, match="incorrect passphrase"):
            engine.up()


class TestStack:
    def test_it_is_made_on_first_use_and_the_stack_file_stays_as_it_was(self, deployed):
        missing: Answer = ([], "error: no stack named 'dev' found", 255)
        engine, _ = deployed(missing, ([], "", 0), ([step("resOutputsEvent", "create")], "", 0))
        assert len(engine.up().changes) == 1
        calls = deployed.calls()
        assert [call[1] for call in calls] == ["up", "stack", "up"]
        assert os.path.realpath(calls[1][0]) != os.path.realpath(deployed.project)
        assert (deployed.project / "Pulumi.dev.yaml").read_text() == "config: {}\n"

    def test_the_lock_of_a_killed_run_is_taken_away(self, deployed):
        gone = subprocess.Popen(["true"])
        gone.wait()
        engine, _ = deployed(locked(gone.pid), ([], "", 0), ([step("resOutputsEvent", "create")], "", 0))
        assert len(engine.up().changes) == 1
        assert [call[1] for call in deployed.calls()] == ["up", "cancel", "up"]

    @pytest.mark.parametrize("host", ["elsewhere", socket.gethostname()])
    def test_the_lock_of_a_run_that_may_go_on_stays(self, deployed, monkeypatch, host):
        monkeypatch.setattr("ws.pulumi.locks._lives", lambda _pid: True)
        engine, _ = deployed(locked(1, host))
        with pytest.raises(LockedError, match="another run of Pulumi works on stack dev"):
            engine.up()
        assert len(deployed.calls()) == 1

    def test_what_an_interrupted_run_left_is_found_where_the_host_has_changed(self, deployed, monkeypatch):
        known, unknown = (
            StackObject(kind="container", name=f"cslr-dev-{name}", identifier=name, embedded=False)
            for name in ("redis", "health")
        )
        monkeypatch.setattr(pulumi_engine, "stack_objects", lambda _: (known, unknown))
        exported = {"deployment": {"resources": [{"urn": "a"}, {"urn": "b", "id": "redis"}]}}
        engine, _ = deployed((exported, "", 0), ([step("resOutputsEvent", "same")], "", 0))
        [left] = engine.leftovers().changes
        assert (left.name, left.type, left.action) == ("cslr-dev-health", CONTAINER, Action.DELETE)
        engine.up()
        assert engine.leftovers().changes == []
        assert len(deployed.calls()) == 2, "after a successful run it does not ask"

    def test_taking_down_what_never_was_makes_no_stack(self, deployed):
        engine, _ = deployed(([], "error: no stack named 'dev' found", 255))
        assert engine.destroy().changes == []
        assert len(deployed.calls()) == 1

    def test_the_host_is_looked_at_only_where_something_changed_behind_pulumis_back(self, deployed, monkeypatch):
        done = ([step("resOutputsEvent", "same")], "", 0)
        engine, _ = deployed(done, done, done)
        engine.up()
        engine.up()
        monkeypatch.setattr(pulumi_engine, "host_now", lambda _identity: [["a container", "exited"]])
        engine.up()
        assert ["--refresh" in call for call in deployed.calls()] == [True, False, True]

    def test_an_image_that_is_gone_is_made_again_which_a_look_at_the_host_would_not_do(self, deployed, monkeypatch):
        monkeypatch.setattr(Docker, "there", lambda path: "gone" not in path)
        monkeypatch.setattr(pulumi_engine, "DockerApi", Docker)
        images = [
            step("resOutputsEvent", "same", name, IMAGE, new={"inputs": {"imageName": f"cslr/{name}:1"}})
            for name in ("here", "gone")
        ]
        left = {"inputs": {"environment": {"CSLR_LEAVES_IMAGE": "cslr/base:gone"}}}
        images.append(step("resOutputsEvent", "same", "base", "command:local:Command", new=left))
        base = urn("command:local:Command", "base")
        engine, _ = deployed((images, "", 0), state(urn(IMAGE, "gone"), base), (images, "", 0))
        engine.up()
        engine.up()
        assert self.replaced(deployed) == [[], [], [f"--replace={urn(IMAGE, 'gone')}", f"--replace={base}"]]

    def test_an_image_that_pulumi_forgot_is_not_to_be_replaced_which_it_would_refuse(self, deployed, monkeypatch):
        monkeypatch.setattr(Docker, "there", lambda _: False)
        monkeypatch.setattr(pulumi_engine, "DockerApi", Docker)
        image = step("resOutputsEvent", "same", "gone", IMAGE, new={"inputs": {"imageName": "cslr/gone:1"}})
        nothing = ([step("resOutputsEvent", "same")], "", 0)
        engine, _ = deployed(([image], "", 0), state(), nothing, nothing)
        for _ in range(3):
            engine.up()
        assert self.replaced(deployed) == [[], [], [], []], "and is not asked for again"

    def test_images_are_built_anew_where_that_is_asked_and_nothing_else_is(self, deployed, monkeypatch):
        monkeypatch.setattr(pulumi_engine, "DockerApi", Docker)
        image = step("resOutputsEvent", "same", "redis", IMAGE, new={"inputs": {"imageName": "cslr/redis:1"}})
        left = {"inputs": {"environment": {"CSLR_LEAVES_IMAGE": "cslr/base:1"}}}
        base = step("resOutputsEvent", "same", "base", "command:local:Command", new=left)
        known = state(urn(IMAGE, "redis"), urn("command:local:Command", "base"))
        engine, _ = deployed(([image, base], "", 0), known, ([image, base], "", 0))
        engine.up()
        engine._rebuild = True
        engine.up()
        assert self.replaced(deployed) == [[], [], [f"--replace={urn(IMAGE, 'redis')}"]]

    def test_a_part_of_the_stack_is_named_and_the_host_is_looked_at_again_after_it(self, deployed):
        done = ([step("resOutputsEvent", "same")], "", 0)
        engine, _ = deployed(done, done, done)
        engine.up()
        engine.up(Scope(only={"urn::b", "urn::a"}))
        engine.up(Scope(without={"urn::c"}))
        named = [[word for word in call if word.startswith(("--target", "--exclude"))] for call in deployed.calls()]
        assert named == [[], ["--target=urn::a", "--target=urn::b"], ["--exclude=urn::c"]]
        # A refresh looks at the named part alone, so it says nothing of the rest.
        assert ["--refresh" in call for call in deployed.calls()] == [True, False, True]

    @staticmethod
    def replaced(deployed) -> list[list[str]]:
        return [[word for word in call if word.startswith("--replace")] for call in deployed.calls()]

    def test_values_for_one_run_are_in_the_copy_that_the_cli_reads(self, deployed):
        engine, _ = deployed(([step("resOutputsEvent", "same")], "", 0))
        engine._overrides = {"cslr:matrix": {"minimal": True}}
        engine.up()
        (copy,) = stack_folder(StackIdentity(project="cslr", stack="dev")).glob("pulumi-config.yaml")
        assert "minimal: true" in copy.read_text()
        assert (deployed.project / "Pulumi.dev.yaml").read_text() == "config: {}\n"


class TestBuilds:
    """Builds are in the build report, with what the provider says of their steps."""

    @pytest.fixture(autouse=True)
    def _docker(self, monkeypatch):
        monkeypatch.setattr("ws.pulumi.builds.DockerApi", Docker)
        monkeypatch.setattr(pulumi_engine, "DockerApi", Docker)

    def events(self, *said: str, end: str = "resOutputsEvent") -> list[Json]:
        about = urn(IMAGE, "redis")
        return [
            step("resourcePreEvent", "create", "redis", IMAGE, new={"inputs": INPUTS}),
            *(says(text, "info", about) for text in said),
            *([says("error: exit code: 100", "error", about)] if end == "resOpFailedEvent" else []),
            step(end, "create", "redis", IMAGE, new={"inputs": INPUTS}),
        ]

    def test_a_change_says_which_component_it_is_part_of(self, deployed):
        variant = urn("cslr:image:ImageVariant", "runtime")
        begun = step("resourcePreEvent", "create", "runtime-report", "command:local:Command", new={"parent": variant})
        ended = step("resOutputsEvent", "create", "runtime-report", "command:local:Command", new={"parent": variant})
        engine, _ = deployed(([begun, ended], "", 0))
        assert [change.owner for change in engine.up().changes] == ["runtime"]

    def test_a_build_is_recorded_with_the_steps_that_were_begun(self, deployed):
        planned = "digest: sha256:a\n[1/2] RUN x\ndigest: sha256:b\n[2/2] RUN y"
        begun = "digest: sha256:a\n[1/2] RUN x"
        engine, _ = deployed((self.events(planned, begun, begun), "", 0))
        engine.up()
        [build] = Store().builds_of_run(current_run())
        assert (build.tag, build.engine, build.result, build.image_id) == (
            "cslr/redis:1",
            "pulumi",
            "built",
            "sha256:1",
        )
        assert [one.name for one in build.steps] == ["[1/2] RUN x"]

    def test_a_failed_one_tells_the_end_of_its_log_which_the_provider_keeps_to_itself(self, deployed):
        said = "digest: sha256:a\n[1/2] RUN x\nE: Temporary failure resolving 'mirror.example.org'"
        engine, _ = deployed((self.events(said, end="resOpFailedEvent"), "", 1))
        [failed] = engine.up().failed
        assert failed.error == "exit code: 100\nE: Temporary failure resolving 'mirror.example.org'"
        [build] = Store().builds_of_run(current_run())
        assert (build.result, build.error) == ("failed", "exit code: 100")

    def test_a_preview_records_nothing(self, deployed):
        events = [{key: {**value, "planning": True} for key, value in event.items()} for event in self.events()]
        engine, _ = deployed((events, "", 0))
        engine.preview()
        assert Store().builds_of_run(current_run()) == []


class TestProgram:
    def test_is_heard_where_it_speaks_of_the_whole_stack(self, deployed, caplog):
        stack = urn(pulumi_engine.STACK_TYPE, "cslr-dev")
        said = [says("a note", "info", stack), says("warning: mind this", "warning", stack), says("early", "info")]
        said += [says("warning: using pulumi-resource-docker from $PATH at /opt", "warning")]
        said += [says("x", "info", urn(IMAGE, "redis"))]
        engine, _ = deployed((said, "", 0))
        caplog.set_level("INFO", logger=pulumi_engine.PROGRAM_LOG)
        engine.preview()
        told = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert told == [("INFO", "a note"), ("WARNING", "mind this"), ("INFO", "early")]


class TestInterrupt:
    def test_waits_for_what_is_under_way_and_a_second_one_gives_that_up(self, deployed, caplog):
        engine, shown = deployed(([], "", 0))
        # Ends at the second interrupt. Has the engine interrupted, and again when it hands that on.
        cli = deployed.project.parent / "pulumi"
        cli.write_text(
            f"#!{sys.executable}\n"
            "import array, fcntl, os, signal, termios, time\n"
            "seen = []\n"
            "def interrupted(*_):\n"
            "    seen.append(1)\n"
            "    os._exit(1) if len(seen) == 2 else interrupt()\n"
            "def interrupt():\n"
            # It listens as soon as it has read what was written: it reads nowhere else.
            "    os.write(1, b'{}\\n')\n"
            "    left = array.array('i', [1])\n"
            "    while left[0]:\n"
            "        time.sleep(0.01)\n"
            "        fcntl.ioctl(1, termios.FIONREAD, left)\n"
            "    os.kill(os.getppid(), signal.SIGINT)\n"
            "signal.signal(signal.SIGINT, interrupted)\n"
            "interrupt()\n"
            "time.sleep(60)\n"
        )
        caplog.set_level("INFO", logger=pulumi_engine.PROGRAM_LOG)
        with pytest.raises(KeyboardInterrupt):
            engine.preview()
        assert pulumi_engine.WAITING in caplog.text
        assert ("interrupted", "") in shown.told


class TestPolicyPack:
    """The rules of hardening, asked by the CLI."""

    WRONG = "redis: writable root: against the rule read-only-root."

    def broken(self, level: str) -> Json:
        message = f"The root file system is read-only.\n{self.WRONG}\n"
        about = urn(CONTAINER, "redis-container")
        return {"policyEvent": {"resourceUrn": about, "message": message, "enforcementLevel": level}}

    @pytest.mark.parametrize("asked", [True, False])
    def test_is_asked_in_previews_and_deployments_only_where_it_is_wanted(self, deployed, asked):
        engine, _ = deployed(*[([], "", 0)] * 2)
        engine._policies = policy_pack.OPTION if asked else ()
        engine.preview()
        engine.up()
        for command, call in zip(("preview", "up"), deployed.calls(), strict=True):
            assert command in call
            assert ("--policy-pack policy" in " ".join(call)) is asked

    def test_a_mandatory_one_that_is_broken_is_the_failure_of_its_resource(self, deployed):
        events = [step("resourcePreEvent", "create"), self.broken("mandatory"), step("resOutputsEvent", "create")]
        engine, _ = deployed((events, "", 255))
        [change] = engine.preview().failed
        assert (change.name, change.error) == ("redis-container", self.WRONG)

    def test_one_broken_by_what_the_cli_never_began_is_the_error(self, deployed):
        """In `up` without a preview, a resource is refused before the CLI begins it."""
        engine, _ = deployed(([self.broken("mandatory")], "", 255))
        with pytest.raises(ProgramError, match=f"^{self.WRONG}$"):
            engine.up()

    def test_an_advisory_one_is_told_and_fails_nothing(self, deployed, caplog):
        events = [step("resourcePreEvent", "create"), self.broken("advisory"), step("resOutputsEvent", "create")]
        engine, _ = deployed((events, "", 0))
        assert engine.preview().ok
        assert self.WRONG in caplog.text
