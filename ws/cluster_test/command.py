"""What `ws test` does when it is asked for the test network."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from config.problems import ConfigError, SettingsError
from embedded_engine.lock import stack_lock
from preflight.host_facts import outside_addresses
from stack.state import stack_folder
from verification.report import CheckResult, Report, table
from verification.spec import VerificationSpec
from ws.cluster_test import junit
from ws.cluster_test.network import TestNetwork, connect, deployed
from ws.cluster_test.plan import opening, plan, worker_reason
from ws.deploy import Session
from ws.errors import WsError

WORKER_CHECK = "worker"
LOCK = "cluster-test"  # folder of its lock, in the stack's state folder


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What is asked for; done in this order."""

    up: bool = False
    run: bool = False
    logs: bool = False
    down: bool = False
    junit: Path | None = None


def perform(session: Session, steps: Steps, console: Console) -> Report | None:
    """Does the steps; returns the report of a run. `console`: for progress and the table."""
    network = _network(session, needs_stack=steps.up or steps.run)
    if steps.up or steps.run or steps.down:
        # Two of them would take away each other's containers.
        with stack_lock(stack_folder(session.identity) / LOCK, session.identity.stack, work="cluster test"):
            return _perform(session, network, steps, console)
    return _perform(session, network, steps, console)


def _perform(session: Session, network: TestNetwork, steps: Steps, console: Console) -> Report | None:
    was_up = is_up = network.is_up
    report = None
    try:
        if steps.up or steps.run:
            reason = worker_reason(session.stack.deployable)
            if is_up and not network.is_of(reason):
                session.say("The stack has changed since the test network was started: it is started again")
                is_up = False
            if steps.up and is_up:
                session.say("The test network is up")
            if not is_up:
                network.up(reason)
        if steps.run:
            report = _run(session, network, console)
            if steps.junit:
                junit.write(report, f"cslr.{session.identity.stack}.cluster-test", steps.junit)
        if steps.logs:
            _show_logs(network, console)
    finally:
        # What was started for a run alone goes with it.
        removed = (steps.down or (steps.run and not steps.up and not was_up)) and network.down()
    if steps.down and not removed:
        session.say("There is no test network")
    return report


def remove(session: Session) -> None:
    """Removes a test network whose stack goes."""
    with contextlib.suppress(WsError, ConfigError, SettingsError):  # said by what takes the stack down
        _network(session, needs_stack=False).down()


def _network(session: Session, *, needs_stack: bool) -> TestNetwork:
    spec: VerificationSpec | None = None
    if needs_stack:
        session.require_deployed()
        last = session.last_verification
        if last is None:
            raise WsError(
                f"stack {session.identity.stack} is not completely deployed, or has no service that can run the "
                f"checks.\n  Run: ws up --stack {session.identity.stack}"
            )
        spec = last.spec
    return TestNetwork(
        engine=connect(),
        identity=session.identity,
        subnet=session.stack.platform.cluster_test.subnet if needs_stack else "",
        spec=spec,
        say=session.say,
    )


def _run(session: Session, network: TestNetwork, console: Console) -> Report:
    assert network.spec  # noqa: S101
    settings, began = session.stack.deployable, time.monotonic()
    found = deployed(session.identity, network.spec, outside_addresses())

    def progress(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    report = network.run(plan(settings, found), progress)
    # The worker's log says the same.
    worker = CheckResult(name=WORKER_CHECK, result="skip", detail=worker_reason(settings), seconds=0.0)
    report = report.with_check(worker)
    console.print(table(report))
    if not any(check.result == "pass" and check.name == "published_ports" for check in report.checks):
        console.print(
            Text(f"Other machines reach nothing of stack {session.identity.stack}; {opening(session.identity.stack)}."),
            style="yellow",
            soft_wrap=True,
        )
    return report.model_copy(update={"seconds": round(time.monotonic() - began, 2)})


def _show_logs(network: TestNetwork, console: Console) -> None:
    lines = list(network.logs())
    for service, line in lines:
        console.print(Text.assemble((f"{service}  ", "cyan"), line), soft_wrap=True)
    if not lines:
        console.print("The test network has no logs: it is not up.", markup=False)
