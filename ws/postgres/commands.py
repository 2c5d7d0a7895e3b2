"""`ws postgres`. Implementations are imported when called, so that help appears at once."""

import time

import typer

from ws.terminal import HELP, Drain, Stack, Yes, confirm, out

postgres = typer.Typer(
    help="Postgres, which keeps MLflow's runs and the queue.", no_args_is_help=True, context_settings=HELP
)


@postgres.callback()
def _group() -> None:
    """Keeps `upgrade` a command of its own while it is the only one."""


@postgres.command()
def upgrade(stack: Stack = "dev", yes: Yes = False, drain: Drain = None) -> None:
    """Bring the databases to the version of Postgres that the stack file asks for, and deploy it.

    Set postgres.version or postgres.image first. MLflow and the queue do not answer meanwhile. The data of the former
    version stays beside the new one. If it is interrupted, run it again.
    """
    from stack.history import Operation
    from ws.backup.taking import maintenance
    from ws.consent import Command, Consent
    from ws.deploy import Session
    from ws.drain_option import parse_duration
    from ws.engine_names import EngineOption
    from ws.history.recording import recorded
    from ws.postgres.upgrade import Upgrade
    from ws.stack_settings import open_stack
    from ws.turn import turn

    began, words = time.monotonic(), "ws postgres upgrade"
    session = Session(open_stack(stack), out)
    session.refuse_half_restored()
    consent = Consent(
        command=Command(words=words, stack=stack),
        console=out,
        yes=yes,
        drain=None if drain is None else parse_duration(drain),
    )
    with turn(session.identity, words), maintenance(session.identity, words):
        upgrading = Upgrade.of(session)
        if not upgrading.is_needed():
            return
        choice = session.choose(EngineOption.AUTO)
        upgrading.refuse_small_disk()
        upgrading.make_images(choice, consent)
        if not upgrading.is_needed():  # of an image that is pulled, it is known only now
            return
        confirm(upgrading.in_words(), yes=yes, confirmed=consent.command.with_option("--yes"))
        upgrading.dump()
        with recorded(session, Operation.UPGRADE, choice.name) as recording:
            recording.result = session.deploy(choice, consent)
            session.report(recording.result)
    session.show_end(recording.result, time.monotonic() - began)
    session.say(
        f"The data of Postgres {upgrading.major} is kept beside the new one; docs/operating.md says how to remove it."
    )
