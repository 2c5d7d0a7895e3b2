"""The genuine Pulumi as an engine: runs its CLI and turns its events into the changes that our displays show."""

import json
import logging
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from build_report.sampling import docker_root, sampled_run
from config.project import state_root
from config.stack_file import StackFile
from docker_api.api import DockerApi, DockerError
from embedded_engine.changes import (
    COMMAND,
    CONTAINER,
    EVERYTHING,
    IMAGE,
    NETWORK,
    Action,
    Change,
    Display,
    ProgramError,
    Result,
    Scope,
    name_in,
)
from embedded_engine.differences import UNKNOWN, differences
from embedded_engine.lock import LockedError, stack_lock
from stack.identity import LEAVES_IMAGE, StackIdentity
from stack.owner import Known, OwnerRecord, Situation, StackObject, pulumi_backend, stack_objects
from stack.state import stack_folder
from ws.environment import inherited
from ws.errors import WsError
from ws.pulumi import policy_pack
from ws.pulumi.builds import BuildWatch
from ws.pulumi.leftovers import Left, host_now
from ws.pulumi.locks import LOCKED, is_abandoned

STACK_TYPE = "pulumi:pulumi:Stack"
STEPS = {
    "same": Action.SAME,
    "create": Action.CREATE,
    "update": Action.UPDATE,
    "delete": Action.DELETE,
    "replace": Action.REPLACE,
    "create-replacement": Action.REPLACE,
    "delete-replaced": Action.REPLACE,
}
LAST_STEPS = frozenset(STEPS) - {"replace", "delete-replaced"}  # of the several that make one replacement
# Types that Pulumi only forgets on deletion: images stay, and commands have already run.
ONLY_FORGOTTEN = (IMAGE, COMMAND)
MANDATORY = "mandatory"  # a policy without which nothing is deployed
NO_SUCH_STACK = "no stack named"
# How the CLI writes a value that is not known yet: sdk/go/common/resource/plugin/rpc.go.
UNKNOWN_VALUES = ("04da6b54-80e4-46f7-96ec-b56ff0331ba9", "output<string>")
COLOUR_TAGS = re.compile(r"<\{%.*?%\}>")
WAITING = "Pulumi finishes it. Interrupt again to abort"
LAST_LINES = 15
# Messages of the CLI itself: about plugins on PATH, and about operations that `leftovers` handles.
OF_THE_CLI = ("using pulumi-", "Attempting to deploy or update resources with")
SPOKEN = {"info": logging.INFO, "warning": logging.WARNING}  # severity of the program's messages
PROGRAM_LOG = "cslr.program"  # the logger of the program's messages, in the embedded engine too


class PulumiEngine:
    """The genuine engine on one stack of the program in `folder`."""

    def __init__(
        self,
        cli: Path,
        folder: Path,
        stack: StackFile,
        display: Display,
        overrides: Mapping[str, object] | None = None,
        *,
        rebuild: bool = False,
        ask_policies: bool = False,
    ) -> None:
        """`overrides`: values of config keys, such as ``cslr:matrix``, instead of those in the stack file.

        `rebuild`: build the images that exist, too. `ask_policies`: the CLI asks the rules of hardening, too.
        """
        self._cli = cli
        self._folder = folder
        self._stack = stack
        self._identity = StackIdentity(project=stack.project, stack=stack.stack)
        self._display = display
        self._overrides = overrides or {}
        self._rebuild = rebuild
        self._policies = policy_pack.OPTION if ask_policies else ()
        self._images: dict[str, str] = {}  # URN → tag

    def preview(self) -> Result:
        """Returns the changes that `up` would make; changes nothing, except that the backend gets the stack."""
        return self._run("preview", *self._policies, *self._interference())

    def up(self, scope: Scope = EVERYTHING) -> Result:
        """Brings the host to the state that the program declares. Recreates objects that disappeared without Pulumi."""
        options = (*self._policies, *_named(scope), *self._interference(scope))
        with sampled_run(_docker_root()):
            # Resources that do not depend on a failed one are created, as with the embedded engine.
            result = self._run("up", "--yes", "--skip-preview", "--continue-on-error", *options)
        # A refresh looks at nothing outside of the scope.
        host = host_now(self._identity) if result.ok and scope.whole else None
        Left(host=host, images=self._images).write(self._identity)
        return result

    def leftovers(self) -> Result:
        """Containers and networks that an interrupted run made and the state does not know, so that they block `up`."""
        if Left.read(self._identity).host == host_now(self._identity):
            return Result(changes=[])
        objects = stack_objects(self._identity)
        known = Known(engine="pulumi", identifiers=self._known("id")) if objects else Known(engine="pulumi")
        own = OwnerRecord(engine="pulumi", backend=pulumi_backend(inherited()))
        last = OwnerRecord.read(stack_folder(self._identity))
        now = Situation(identity=self._identity, objects=objects, known=known, own=own, last=last)
        return Result(changes=[_unknown(one) for one in now.leftovers])

    def destroy(self, *, volumes: bool = False) -> Result:
        """Removes containers and network. Volumes are kept by the program; with `volumes` Pulumi forgets the stack."""
        result = self._run("destroy", "--yes", "--skip-preview")
        if volumes and result.ok:
            self._call("stack", "rm", "--yes", "--preserve-config", self._identity.stack)
        return result

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs; a stack that Pulumi does not know has none."""
        return self._stack_json("output", "--json")

    def _interference(self, scope: Scope = EVERYTHING) -> tuple[str, ...]:
        """The options with which Pulumi repairs changes that others made on the host since the last deployment.

        A refresh takes long, and is only needed after such changes. Even a refresh does not detect a missing image: the
        provider cannot read images.
        """
        left = Left.read(self._identity)
        self._images = left.images
        refresh = () if left.host is not None and left.host == host_now(self._identity) else ("--refresh",)
        api = DockerApi() if self._images else None
        gone = {urn for urn, tag in self._images.items() if api and api.find(f"/images/{tag}/json") is None}
        # Pulumi refuses to replace resources that it does not have, such as an image that is no longer selected.
        forgotten = self._images.keys() - self._known("urn") if gone or self._rebuild else frozenset()
        self._images = {urn: tag for urn, tag in self._images.items() if urn not in forgotten}
        anew = gone | {urn for urn in self._images if self._rebuild and f"{IMAGE}::" in urn}
        return (*refresh, *(f"--replace={urn}" for urn in self._images if urn in anew and urn in scope))

    def _known(self, key: str) -> frozenset[str]:
        """A property, such as ``urn``, of all resources in Pulumi's state of the stack."""
        state = self._stack_json("export")
        return frozenset(one[key] for one in state.get("deployment", {}).get("resources") or () if key in one)

    def _stack_json(self, *command: str) -> dict[str, Any]:
        """The output of a ``pulumi stack`` command; empty for a stack that Pulumi does not know."""
        done = self._call("stack", *command, "--stack", self._identity.stack, check=False)
        if done.returncode and NO_SUCH_STACK in done.stderr:
            return {}
        answer: dict[str, Any] = json.loads(self._checked(done).stdout)
        return answer

    def _run(self, *arguments: str) -> Result:
        with stack_lock(stack_folder(self._identity), self._identity.stack):
            events = self._events(*arguments)
            if events.code and NO_SUCH_STACK in events.stderr:
                if arguments[0] == "destroy":
                    return Result(changes=[])
                self._init()
                events = self._events(*arguments)
            elif events.code and LOCKED in events.stderr:
                self._unlock(events.stderr)
                events = self._events(*arguments)
        self._images.update(events.images)
        return events.result()

    def _events(self, *arguments: str) -> "_Events":
        events = _Events(self._display)
        command = [str(self._cli), *arguments, "--json", "--non-interactive", "--stack", self._identity.stack]
        command += ["--config-file", str(self._copied_config())]
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                command,
                cwd=self._folder,
                env=inherited(PULUMI_ENABLE_STREAMING_JSON_PREVIEW="true"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # A second interrupt would make Pulumi abort, and a terminal sends one to all processes.
                start_new_session=True,
            ) as process,
        ):
            try:
                self._read(process, events)
            except KeyboardInterrupt:
                try:
                    process.send_signal(signal.SIGINT)
                    self._display.interrupted()
                    logging.getLogger(PROGRAM_LOG).info(WAITING)
                    self._read(process, events)
                except KeyboardInterrupt:
                    process.send_signal(signal.SIGINT)
                raise
            finally:
                events.code = process.wait()
            errors.seek(0)
            events.stderr = errors.read()
        return events

    @staticmethod
    def _read(process: subprocess.Popen[str], events: "_Events") -> None:
        for line in process.stdout or ():
            events.take(line)

    def _copied_config(self) -> Path:
        """A copy of the stack file. The CLI adds a salt to the one that it reads, and that is under version control."""
        copy = stack_folder(self._identity) / "pulumi-config.yaml"
        self._stack.write_copy(copy, self._overrides)
        return copy

    def _unlock(self, said: str) -> None:
        """Removes the lock of a killed run. Raises `LockedError` if that run may still be alive."""
        if not is_abandoned(said):
            raise LockedError(
                f"another run of Pulumi works on stack {self._identity.stack}, maybe on another host:\n{_end(said)}"
            )
        logging.getLogger(PROGRAM_LOG).info("An earlier run of Pulumi was killed: its lock is taken away")
        self._call("cancel", "--yes", "--stack", self._identity.stack)

    def _init(self) -> None:
        """Creates the stack, from copies for the same reason."""
        with tempfile.TemporaryDirectory(dir=state_root()) as scratch:
            shutil.copy(self._folder / "Pulumi.yaml", scratch)
            self._stack.write_copy(Path(scratch) / self._stack.name, {})
            self._call("stack", "init", "--no-select", self._identity.stack, folder=Path(scratch))

    def _call(
        self, *arguments: str, folder: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self._cli, *arguments, "--non-interactive"],
            cwd=folder or self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return self._checked(done) if check else done

    @staticmethod
    def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
        if done.returncode:
            raise WsError(f"{' '.join(map(str, done.args))}: {_end(done.stderr or done.stdout)}")
        return done


class _Events:
    """Collects the events of one run of the CLI into changes, and shows them as they arrive."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._changes: dict[str, Change] = {}
        self._began: dict[str, float] = {}
        self._errors: dict[str, list[str]] = {}
        self._broken: dict[str, list[str]] = {}  # URN → the mandatory policies that it breaks, in sentences
        self._outputs: dict[str, Any] = {}
        self._builds: dict[str, BuildWatch] = {}  # of images that are being built
        self.images: dict[str, str] = {}  # URN → tag of the resource's image
        self.code = 0
        self.stderr = ""

    def take(self, line: str) -> None:
        """One line of the CLI's output."""
        try:
            event = json.loads(line)
        except ValueError:
            return
        handlers = {
            "resourcePreEvent": self._begin,
            "resOutputsEvent": self._end,
            "resOpFailedEvent": self._fail,
            "diagnosticEvent": self._diagnose,
            "policyEvent": self._judge,
        }
        for key, handle in handlers.items():
            if key in event:
                handle(event[key])

    def result(self) -> Result:
        """The result of the run. Raises `ProgramError` if the program reports an error, `WsError` if the CLI failed."""
        for urn, sentences in self._broken.items():
            if change := self._changes.get(urn):
                change.error = "\n".join(sentences)
        changes = list(self._changes.values())
        if not self.code or any(change.error for change in changes):
            return Result(changes=changes, outputs=self._outputs)
        said = [text for texts in (*self._broken.values(), *self._errors.values()) for text in texts]
        if said:
            raise ProgramError(said[0])
        raise WsError(f"pulumi ended with exit code {self.code}: {_end(self.stderr)}")

    def _change(self, step: dict[str, Any]) -> Change | None:
        """The change that a step belongs to; None for steps that make nothing (components, providers, refresh)."""
        state = step.get("new") or step.get("old") or {}
        if not state.get("custom") or step["type"].startswith("pulumi:") or step["op"] not in STEPS:
            return None
        if step["op"] == "delete" and (state.get("retainOnDelete") or step["type"] in ONLY_FORGOTTEN):
            return None
        urn, action = step["urn"], STEPS[step["op"]]
        change = self._changes.get(urn)
        if change is None:
            owner = name_in(state.get("parent") or "")
            change = Change(urn=urn, type=step["type"], name=name_in(urn), action=action, owner=owner)
            self._changes[urn] = change
        if action is not Action.SAME:
            change.action = action
            change.reasons = change.reasons or list(_reasons(step))
            change.after = change.after or _plain((step.get("new") or {}).get("inputs") or {})
        return change

    def _begin(self, event: dict[str, Any]) -> None:
        change = self._change(event["metadata"])
        if change and change.action is not Action.SAME and change.urn not in self._began:
            self._began[change.urn] = time.monotonic()
            if not event.get("planning"):
                self._display.started(change)
                if change.type == IMAGE:
                    self._builds[change.urn] = BuildWatch()

    def _end(self, event: dict[str, Any]) -> None:
        step = event["metadata"]
        if step["type"] == STACK_TYPE:
            self._outputs = (step.get("new") or {}).get("outputs") or self._outputs
        change = self._change(step)
        if step["op"] in LAST_STEPS - {"delete"}:
            if tag := _image_left(step):
                self.images[step["urn"]] = tag
            if build := self._builds.pop(step["urn"], None):
                build.record(step["new"])
        if change and step["op"] in LAST_STEPS:
            change.seconds = time.monotonic() - self._began.get(change.urn, time.monotonic())
            self._display.ended(change)

    def _fail(self, event: dict[str, Any]) -> None:
        change = self._change(event["metadata"])
        if change:
            # The provider logs a failure before Pulumi reports it, in more words.
            change.error = self._errors.get(change.urn, ["failed; Pulumi gave no reason"])[-1]
            if build := self._builds.pop(change.urn, None):
                build.record(event["metadata"]["new"], change.error)
                change.error = f"{change.error}\n{build.log}".rstrip()
            self._display.ended(change)

    def _judge(self, event: dict[str, Any]) -> None:
        """A policy that a resource breaks: its description, and on the next lines what is wrong."""
        description, _, wrong = event["message"].strip().partition("\n")
        if event["enforcementLevel"] == MANDATORY:
            self._broken.setdefault(event.get("resourceUrn", ""), []).append(wrong or description)
        else:
            logging.getLogger(PROGRAM_LOG).warning(wrong or description)

    def _diagnose(self, event: dict[str, Any]) -> None:
        text = COLOUR_TAGS.sub("", event.get("message", "")).strip()
        urn = event.get("urn", "")
        if event.get("severity") == "error" and text:
            self._errors.setdefault(urn, []).append(text.removeprefix("error: "))
        elif event.get("severity") in SPOKEN and text and _is_the_programs(urn, text):
            logging.getLogger(PROGRAM_LOG).log(SPOKEN[event["severity"]], text.removeprefix("warning: "))
        elif text and urn in self._changes:
            if urn in self._builds:
                self._builds[urn].take(text)
            self._display.progress(self._changes[urn], text.splitlines()[-1])


def _is_the_programs(urn: str, text: str) -> bool:
    """Whether the message is the program's; at its start, messages belong to no resource yet."""
    return f"::{STACK_TYPE}::" in urn or not (urn or text.removeprefix("warning: ").startswith(OF_THE_CLI))


def _image_left(step: dict[str, Any]) -> str | None:
    """The tag of the image that a resource, or its command, makes."""
    inputs = (step.get("new") or {}).get("inputs") or {}
    tag = inputs.get("imageName") if step["type"] == IMAGE else (inputs.get("environment") or {}).get(LEAVES_IMAGE)
    return str(tag) if tag else None


def _unknown(one: StackObject) -> Change:
    kind = CONTAINER if one.kind == "container" else NETWORK
    return Change(urn=one.name, type=kind, name=one.name, action=Action.DELETE, reasons=["left by an interrupted run"])


def _named(scope: Scope) -> Iterator[str]:
    """The options that limit a run."""
    yield from (f"--target={urn}" for urn in sorted(scope.only or ()))
    yield from (f"--exclude={urn}" for urn in sorted(scope.without))


def _docker_root() -> Path | None:
    try:
        return docker_root(DockerApi())
    except DockerError:
        return None


def _reasons(step: dict[str, Any]) -> Iterator[str]:
    old, new = ((step.get(key) or {}).get("inputs") or {} for key in ("old", "new"))
    if old and new:
        yield from differences(_plain(old), _plain(new))


def _plain(value: Any) -> Any:  # noqa: ANN401 (a property of a resource is any JSON value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "__defaults"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return UNKNOWN if value in UNKNOWN_VALUES else value


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LAST_LINES:]).removeprefix("error: ")
