"""Implements `ws up`, `preview`, `down` and `outputs`: set up the host, choose an engine, run it, report."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.text import Text

from build_report.units import whole_duration
from config.keys import HOST_ALONE, PREFLIGHT_KEY
from config.project import FOLDER
from embedded_engine.changes import EVERYTHING, Action, Change, Display, Guard, Result, Scope, unguarded
from stack import running_work, unfinished_restore
from stack.owner import RECORD, OwnerRecord
from stack.running_work import RAY_NODES, RunningWork
from stack.state import DUMPS, stack_folder
from ws import changes, firewall, services
from ws.consent import Consent
from ws.containers import containers, made_by
from ws.cost import REDIS, Cost, Stop, all_stop, concerns, cost, stops
from ws.display import display_on
from ws.engine_names import EngineName, EngineOption
from ws.engines import Choice, DeploymentEngine, choose
from ws.errors import WsError
from ws.pulumi import cli as pulumi_cli
from ws.pulumi import policy_pack as policies
from ws.pulumi.engine import PROGRAM_LOG, PulumiEngine
from ws.setup import docker as setup
from ws.setup.programs import missing

if TYPE_CHECKING:
    from config.builds import BuildSettings
    from embedded_engine.run import Engine
    from stack.sources import Sources, TorchChoice
    from verification.record import Record
    from ws.stack_settings import StackSettings

VERIFICATION = "verification"  # the command's name in the program


class Session:
    """One command on one stack, which writes all output to one console."""

    def __init__(
        self, stack: "StackSettings", console: Console, *, rebuild: bool = False, policy_pack: bool = False
    ) -> None:
        """`rebuild`: `up` builds the images that exist, too. `policy_pack`: Pulumi's engine asks the rules, too."""
        self.stack = stack
        self.rebuild = rebuild
        self.policy_pack = policy_pack
        self.identity = stack.identity
        self.console = console
        self.begun: list[Change] = []  # what its runs began, for the record of one that does not end
        self._said: set[str] = set()  # by the program

    def say(self, text: str, style: str = "dim") -> None:
        """Prints one line of progress."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def reopened(self) -> "Session":
        """The same on the stack file as it is now; what its program has said is not said again."""
        from ws.stack_settings import open_stack

        now = Session(open_stack(self.identity.stack), self.console)
        now._said = self._said
        return now

    def check_config(self) -> None:
        """Checks the stack file, as far as that is possible without the host."""
        _ = self.stack.builds

    def refuse_half_restored(self) -> None:
        """Raises `SettingsError` where a restore has not ended, unless this command belongs to it."""
        unfinished_restore.check(self.identity, self.stack.environment)

    def prepare_host(self) -> None:
        """Installs Docker and debootstrap with its keys if they are missing and the stack file has no errors."""
        if not setup.answers():  # otherwise the program checks the file before anything is changed
            self.check_config()
            setup.ensure(self.say)
        if missing(setup.BOOTSTRAP) and self._bases_are_bootstrapped():
            setup.ensure_debootstrap(self.say)

    @property
    def maker(self) -> EngineName | None:
        """The engine that made the stack's containers or deployed it last; None if it is not deployed."""
        last = OwnerRecord.read(stack_folder(self.identity))
        return made_by(containers(self.identity)) or (EngineName(last.engine) if last else None)

    def choose(self, asked: EngineOption) -> Choice:
        """The engine for this stack; says why, unless the user asked for it. Raises `WsError` where none can do it."""
        choice = choose(
            asked,
            self.maker,
            lambda: pulumi_cli.look(self.say, fresh=asked is EngineOption.PULUMI),
            self.identity.stack,
            lambda: "matrix" if self.only_builds else "up",
        )
        if self.policy_pack:
            policies.check(choice.name)
        if choice.reason:
            self.say(f"Engine: {choice.name} ({choice.reason})")
        return choice

    def run(
        self,
        choice: Choice,
        action: Callable[[DeploymentEngine], Result],
        overrides: Mapping[str, object] | None = None,
        guard: Guard = unguarded,
    ) -> Result:
        """Runs one action of an engine and shows its progress. `overrides`: config keys for this run."""
        with display_on(self.console) as display, self.program_speaks():
            try:
                return action(self._engine(choice, display, overrides, guard))
            finally:
                self.begun += display.begun

    def up(self, choice: Choice, consent: Consent, scope: Scope = EVERYTHING) -> Result:
        """Deploys the stack, or what is in `scope`. Ends no running work without consent. Raises `DeclinedError`."""
        left = self.leftovers(choice)
        self.clear_away([one for one in left if scope.whole or not one.name.endswith(RAY_NODES)], consent)
        running = running_work.look(self.identity)
        if running or running.pair:
            # Only then is a preview worth its time.
            planned = self.run(choice, lambda engine: engine.preview())
            if planned.failed or planned.unchanged:
                self._renew_certificates(planned)
                return planned
            changing = [change for change in planned.changes if change.urn in scope]
            consent.obtain(lambda: self.cost(changing))
            if any(stop.service in REDIS for stop in stops(changing, running.services)):
                self.give_redis_away()

        before = self._dumps()
        result = self.deploy(choice, consent, scope)
        self._renew_certificates(result)
        for dump in sorted(self._dumps() - before):
            self.say(
                f"Kept MLflow's database as it was before. To go back to it, with the former version: "
                f"ws mlflow restore {dump} --stack {self.identity.stack}"
                if dump.parent.name == DUMPS
                else f"Kept the database {dump.parent.name} as it was before: {dump}. docs/queue.md has the way back."
            )
        return result

    def deploy(self, choice: Choice, consent: Consent, scope: Scope = EVERYTHING) -> Result:
        """The same without a question: what nobody agreed to end is left as it is, and is an error of the result."""

        def objection(change: Change) -> str:
            return consent.objection(self.cost([change])) if concerns(change) else ""

        return self.run(choice, lambda engine: engine.up(scope), guard=objection)

    def _renew_certificates(self, result: Result) -> None:
        """What the program does in a deployment, where there was none because nothing changes."""
        if result.unchanged and self.stack.matrix is None and self.stack.platform.tls.enabled:
            from ws import certificates

            certificates.renew(self.stack)

    def _dumps(self) -> set[Path]:
        return set((stack_folder(self.identity) / DUMPS).rglob("*.dump"))

    def leftovers(self, choice: Choice) -> list[Change]:
        """With Pulumi: containers and networks that its state does not know, of an interrupted run or a way back."""
        return self.run(choice, lambda engine: engine.leftovers()).changes

    def clear_away(self, left: list[Change], consent: Consent) -> None:
        """Removes leftovers of an interrupted run. Raises `DeclinedError` and `WsError`."""
        if not left:
            return
        self.check_config()
        consent.obtain(lambda: self.cost(left))
        names = ", ".join(change.name for change in left)
        self.say(f"Removing what an interrupted run left outside Pulumi's state: {names}. Data stays", "yellow")
        removed = Choice(name=EngineName.EMBEDDED)
        self.report(self.run(removed, lambda engine: cast("Engine", engine).remove(left)))

    def cost(self, planned: list[Change]) -> Cost:
        """The running work that changes would end."""
        running = running_work.look(self.identity)
        stopping = stops(planned, running.services)
        return cost(stopping, running, redis_leads=self._redis_leads(running, stopping))

    def cost_of_end(self, why: str) -> Cost:
        """The running work that ends with all containers."""
        running = running_work.look(self.identity)
        return cost(all_stop(running.services, why), running)

    def _redis_leads(self, running: RunningWork, stopping: list[Stop]) -> bool:
        """Whether the Redis that stops is the primary; assumed if it does not answer."""
        if not (running.pair and any(stop.service in REDIS for stop in stopping)):
            return True
        from ws.cluster.access import access
        from ws.cluster.failover import leads_here

        return leads_here(access(self.stack)) is not False

    def give_redis_away(self) -> None:
        """Makes the replica on another host the primary before the primary here stops, if there are two."""
        if running_work.look(self.identity).pair:
            from ws.cluster.access import access
            from ws.cluster.failover import give_away

            give_away(access(self.stack), self.console)

    def changes_over(self, choice: Choice) -> bool:
        """Whether the other engine made the stack's existing objects."""
        return self.maker not in (None, choice.name)

    def change_over(self) -> None:
        """Takes down the other engine's objects, so that this engine can recreate them. Data is kept."""
        maker = self.maker
        # Nothing is taken down that could not be recreated.
        self.report(self.run(Choice(name=EngineName.EMBEDDED), lambda engine: engine.preview(), self.changing_over))
        self.say(f"Changing over from the {maker} engine: removing its containers; all data stays")
        self.report(self.take_down(volumes=False))

    @property
    def changing_over(self) -> Mapping[str, object]:
        """Config for a preview of the other engine's stack, which is otherwise refused."""
        return {PREFLIGHT_KEY: HOST_ALONE}

    def take_down(self, *, volumes: bool) -> Result:
        """Removes the stack, whichever engine made it. The embedded engine finds Pulumi's leftovers by their labels."""
        cli, maker = pulumi_cli.find(), self.maker
        removed: list[Change] = []
        if cli and maker is not EngineName.EMBEDDED:
            pulumi = Choice(name=EngineName.PULUMI, cli=cli)
            result = self.run(pulumi, lambda engine: engine.destroy(volumes=volumes))
            if not result.ok:
                return result
            removed = result.changes
        rest = self.run(Choice(name=EngineName.EMBEDDED), lambda engine: engine.destroy(volumes=volumes))
        if maker is EngineName.PULUMI and not cli:
            self.say(f"Pulumi's CLI is not here, so Pulumi's state still lists stack {self.identity.stack}", "yellow")
        elif rest.ok:
            (stack_folder(self.identity) / RECORD).unlink(missing_ok=True)
        if rest.ok and firewall.clear(self.identity):
            self.say("Removed the rules of a firewall that was killed")
        if volumes and rest.ok:
            shutil.rmtree(stack_folder(self.identity), ignore_errors=True)
        return Result(changes=removed + rest.changes)

    def report(self, result: Result) -> None:
        """Failures in full. Raises `WsError` if there are any."""
        changes.show_failures(result, self.console)
        if not result.ok:
            counts = changes.counts(result, planned=False)
            raise WsError(f"{counts}. Fix the failure and run it again; finished resources are kept.")

    def show_verification(self, result: Result) -> None:
        """The table of checks, if they were made in this run."""
        if any(change.name == VERIFICATION and change.action is not Action.SAME for change in result.changes):
            from verification.report import table

            last = self.last_verification
            if last and last.report:
                self.console.print(table(last.report))
                self.console.print()

    @property
    def last_verification(self) -> "Record | None":
        """Expectations and result of the last deployment's verification."""
        from verification.record import FILE, Record

        return Record.read(stack_folder(self.identity) / FILE)

    def show_end(self, result: Result, seconds: float) -> None:
        """What a deployment ends with: the checks, the services, one sentence."""
        self.show_verification(result)
        if "urls" in result.outputs:
            self.show_services(result.outputs["urls"])
        self.say(summary(result, seconds), "bold green")

    def show_services(self, urls: dict[str, str]) -> None:
        """The table of services, and where secrets lie."""
        found = containers(self.identity)
        # Not by its link: people's name for this host need not resolve on the host itself.
        report = services.health_report(found)
        states = services.services(found, report, urls)
        self.console.print(services.table(states))
        if report.problem:
            self.say(f"Versions are not known: {report.problem}.")
        hints = services.secret_hints(
            self.identity,
            {state.name for state in states},
            mlflow_logins=self.stack.platform.mlflow.logins,
            membership=self.stack.membership,
        )
        for hint in hints:
            self.say(hint)

    @property
    def only_builds(self) -> bool:
        """Whether the stack builds images and deploys nothing."""
        from config.problems import SettingsError

        try:
            return self.stack.matrix is not None
        except SettingsError:  # a deployed stack can be inspected and removed, whatever the file says now
            return False

    def outputs(self, asked: EngineOption = EngineOption.AUTO) -> dict[str, Any]:
        """The stack's outputs. Raises `WsError` if nothing is deployed."""
        found, looking = containers(self.identity), {PREFLIGHT_KEY: False}
        if not found and self.only_builds:
            with display_on(self.console) as display:
                return self._engine(Choice(name=EngineName.EMBEDDED), display, looking).outputs()
        self.require_deployed()
        cli = pulumi_cli.find()
        name = EngineName(asked) if asked is not EngineOption.AUTO else made_by(found)
        choice = Choice(name=EngineName.PULUMI, cli=cli) if name is EngineName.PULUMI and cli else None
        with display_on(self.console) as display:
            return self._engine(choice or Choice(name=EngineName.EMBEDDED), display, looking).outputs()

    def require_deployed(self) -> None:
        """Raises `WsError` where nothing is deployed."""
        if not containers(self.identity):
            raise WsError(
                f"stack {self.identity.stack} is not deployed. Start it with: ws up --stack {self.identity.stack}"
            )

    def sources(self, images: "BuildSettings", *, torch: "TorchChoice", devel: bool = False) -> "Sources":
        """The image sources that the program will choose; reports those that were probed just now."""
        from stack.sources import ANSWERS_FILE, choose_sources

        kept = stack_folder(self.identity) / ANSWERS_FILE
        found, notes = choose_sources(images, torch=torch, devel=devel, kept=kept, dry_run=False)
        for note in notes:
            self.say(note)
        return found

    def _engine(
        self,
        choice: Choice,
        display: Display,
        overrides: Mapping[str, object] | None = None,
        guard: Guard = unguarded,
    ) -> DeploymentEngine:
        if choice.cli:
            return PulumiEngine(
                choice.cli,
                FOLDER,
                self.stack.file,
                display,
                overrides,
                rebuild=self.rebuild,
                ask_policies=self.policy_pack,
            )
        from embedded_engine.run import Engine  # with Pulumi's SDK, which the genuine engine's own processes load

        return Engine(FOLDER, self.stack.file.config, display, overrides, guard, rebuild=self.rebuild)

    @contextlib.contextmanager
    def program_speaks(self) -> Iterator[None]:
        """Shows each message of the program once, although a command may run it several times."""
        log, handler = logging.getLogger(PROGRAM_LOG), _Once(self.say, self._said)
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)

    def _bases_are_bootstrapped(self) -> bool:
        images, torch = self.stack.builds
        return self.sources(images, torch=torch).bases == "bootstrap"


class _Once(logging.Handler):
    """Passes each distinct message on once."""

    def __init__(self, say: Callable[[str, str], None], said: set[str]) -> None:
        super().__init__(logging.INFO)
        self._say = say
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            self._say(text, "yellow" if record.levelno >= logging.WARNING else "dim")


def summary(result: Result, seconds: float) -> str:
    """The last line of a deployment."""
    if result.unchanged:
        return f"Nothing to change ({whole_duration(seconds)})"
    return f"Done in {whole_duration(seconds)}: {changes.counts(result, planned=False)}"
