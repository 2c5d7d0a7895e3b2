"""`ws submit`, `ws queue`, `ws job`, `ws usage`: jobs that wait their turn on a stack's cluster."""

import json
import shlex
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.text import Text

from ws import completion
from ws.environment import inherited
from ws.errors import WsError
from ws.paths import all_there, there
from ws.terminal import HELP, AsJson, Stack, err, out

if TYPE_CHECKING:
    from contracts.queue import JobView
    from ws.queue.client import QueueClient

job = typer.Typer(help="Jobs of the stack's queue.", no_args_is_help=True, context_settings=HELP)

JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="Job ID, as `ws job list` shows it.", autocompletion=completion.jobs)
]
User = Annotated[
    str | None,
    typer.Option(
        "--user", help="Name to act under. Default: CSLR_USER, else the login name.", metavar="NAME", show_default=False
    ),
]
MOST_LISTED = 1000
LAST_LINES = ", last available logs"  # in Ray's message of a failed job, before what it printed last
TAIL = 2**20  # characters from a log's end in which its last lines are looked for


class By(StrEnum):
    """Whose usage is added up."""

    USER = "user"
    PROJECT = "project"


class StateName(StrEnum):
    """States of jobs."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


def add_commands(app: typer.Typer) -> None:
    """Makes them part of `ws`."""
    # As `docker run`: what follows the program belongs to it.
    app.command("submit", context_settings={**HELP, "allow_interspersed_args": False})(submit)
    app.command("queue")(queue)
    app.command("usage")(usage)
    app.add_typer(job, name="job")


def submit(
    program: Annotated[
        list[str],
        typer.Argument(metavar="[--] PROGRAM", help="The command with its arguments, or one quoted shell command."),
    ],
    gpus: Annotated[float, typer.Option(help="GPUs; with --count, of each part.", min=0, metavar="N")] = 0,
    cpus: Annotated[float, typer.Option(help="CPUs; with --count, of each part.", min=0, metavar="N")] = 1,
    memory: Annotated[
        str | None,
        typer.Option(help="Memory, such as 32g; with --count, of each part.", metavar="SIZE", show_default=False),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="Another Ray resource, such as dataset:NAME=0.001. May be repeated.", metavar="NAME=N"),
    ] = None,
    count: Annotated[
        int, typer.Option(help="Equal parts, each on one node; either all start together, or none.", min=1, metavar="N")
    ] = 1,
    tasks: Annotated[
        bool,
        typer.Option(
            "--tasks",
            help="The job's Ray tasks and actors take the resources (Ray Tune, Train, Data); the program holds none.",
        ),
    ] = False,
    priority: Annotated[
        str, typer.Option(help="low, normal or high.", metavar="NAME", autocompletion=completion.priorities)
    ] = "normal",
    name: Annotated[str | None, typer.Option(help="A name for people.", metavar="TEXT", show_default=False)] = None,
    project: Annotated[
        str | None,
        typer.Option(help="The project under which `ws usage` adds it up.", metavar="NAME", show_default=False),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            help="Stop the job after this time: 90m, 12h. With a limit, it may start sooner (docs/queue.md).",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    restartable: Annotated[
        bool,
        typer.Option(
            "--restartable",
            "--resume",
            help="The job continues from its checkpoints, so it may be stopped for others and restarted.",
        ),
    ] = False,
    folder: Annotated[
        Path,
        typer.Option(
            help="Folder to send with the job, without what .gitignore and .rayignore name. The job runs in a copy.",
            metavar="FOLDER",
            callback=there,
        ),
    ] = Path(),
    no_folder: Annotated[bool, typer.Option("--no-folder", help="Send no folder.")] = False,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="Environment variable; NAME alone takes its value from your shell. May be repeated.",
            metavar="NAME[=VALUE]",
        ),
    ] = None,
    packages: Annotated[
        list[str] | None,
        typer.Option(help="Package that Ray installs for the job. May be repeated.", metavar="REQUIREMENT"),
    ] = None,
    requirement: Annotated[
        list[Path] | None,
        typer.Option(
            "--requirement",
            "-r",
            help="File that lists such packages. May be repeated.",
            metavar="FILE",
            callback=all_there,
        ),
    ] = None,
    identifier: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="An ID of your own. Submitting the same ID twice makes one job.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the job ends; the exit code is 0 if it succeeded.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Like --wait, and print the job's output.")] = False,
    user: User = None,
    stack: Stack = "dev",
    as_json: AsJson = False,
) -> None:
    """Submit a job to the queue: ws submit --gpus 1 -- python train.py --epochs 10

    The current folder is sent with it. The job starts when its turn comes, and survives restarts of the service and
    moves of the head.
    """
    from contracts.queue import Submission
    from ws.drain_option import parse_duration
    from ws.queue import submitting
    from ws.queue.access import queue_of

    if follow and as_json:
        raise typer.BadParameter("the job's own output would be in the JSON; use --wait.", param_hint="--follow")
    submission = Submission(
        entrypoint=submitting.entrypoint(program),
        id=identifier,
        name=name,
        project=project,
        gpus=gpus,
        cpus=cpus,
        memory=_memory(memory),
        resources=dict(map(_resource, resource or ())),
        count=count,
        held_by="tasks" if tasks else "command",
        priority=priority,
        time_limit=parse_duration(time_limit) if time_limit else None,
        restartable=restartable,
        environment=submitting.environment(env or (), inherited()),
        packages=submitting.requirements(packages or (), requirement or ()),
    )
    client = queue_of(stack, user)
    made = submitting.submit(client, submission, None if no_folder else folder)
    if not (wait or follow or as_json):
        out.print(Text(f"Job {made.id} was submitted. {made.why or ''}".rstrip()), soft_wrap=True)
        out.print(Text(f"Follow it: {_ws(stack, 'job', 'logs', made.id, '--follow')}", style="dim"), soft_wrap=True)
    if wait or follow:
        if not as_json:
            err.print(Text(f"Job {made.id} was submitted.", style="dim"))
        made = _wait(client, made.id, stack, follow=follow)
    if as_json:
        _print_json(made)
    if wait or follow:
        _end(made, stack)


def queue(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show the queue: what runs, what waits and why, nodes, and users' shares."""
    from ws.queue import view
    from ws.queue.access import queue_of

    found = queue_of(stack).queue()
    if as_json:
        _print_json(found)
    else:
        out.print(view.queue_view(found))


@job.command("list")
def list_jobs(
    everyone: Annotated[bool, typer.Option("--all", "-a", help="Jobs of all users.")] = False,
    project: Annotated[
        str | None, typer.Option(help="Only jobs of this project.", metavar="NAME", show_default=False)
    ] = None,
    state: Annotated[list[StateName] | None, typer.Option(help="Only jobs in this state. May be repeated.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=MOST_LISTED, help="Show only the newest N.", metavar="N")
    ] = 50,
    user: User = None,
    stack: Stack = "dev",
    as_json: AsJson = False,
) -> None:
    """List your jobs, the newest first."""
    from ws.queue import view
    from ws.queue.access import queue_of

    client = queue_of(stack, user)
    states = [one.value for one in state or ()]
    found = client.jobs(user=None if everyone else client.user, project=project, states=states, limit=limit)
    if as_json:
        _print_json(found)
    elif found:
        out.print(view.jobs_table(found, time.time()))
    else:
        whose = "No job" if everyone else f"No job of {client.user}"
        out.print(Text(f"{whose} matches. All jobs: {_ws(stack, 'job', 'list', '--all')}"), soft_wrap=True)


@job.command("show")
def show(name: JobId, stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show one job in full: what it asks for, its attempts, why it waits."""
    from ws.queue import view
    from ws.queue.access import queue_of

    found = queue_of(stack).job(name)
    if as_json:
        _print_json(found)
    else:
        out.print(view.job_view(found))


@job.command("logs")
def logs(
    name: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stream new output until the job ends.")] = False,
    attempt: Annotated[
        int | None,
        typer.Option(min=1, help="Default: the last. With --follow: the first to print.", show_default=False),
    ] = None,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Only the last N lines.", metavar="N", show_default=False)
    ] = None,
    stack: Stack = "dev",
) -> None:
    """Print a job's output. With --follow, the exit code is 0 if the job succeeded."""
    from ws.queue.access import queue_of
    from ws.queue.following import last_lines, whole_log

    if follow and tail is not None:
        raise typer.BadParameter("it cannot be combined with --follow, which prints all output.", param_hint="--tail")
    client = queue_of(stack)
    if follow:
        _end(_wait(client, name, stack, follow=True, first=attempt), stack)
    elif tail is not None:
        _write(last_lines(client, name, attempt, tail, TAIL))
    else:
        for text in whole_log(client, name, attempt):
            _write(text)


@job.command("cancel")
def cancel(
    names: Annotated[
        list[str],
        typer.Argument(metavar="JOB…", help="Job IDs, as `ws job list` shows them.", autocompletion=completion.jobs),
    ],
    user: User = None,
    stack: Stack = "dev",
    as_json: AsJson = False,
) -> None:
    """Cancel jobs, waiting or running. A job that has ended stays as it is."""
    from ws.queue.access import queue_of

    client = queue_of(stack, user)
    found = []
    for name in names:
        found.append(one := client.cancel(name))
        if not as_json:
            said = f"has ended: {one.outcome}" if one.state == "ended" else f"is {one.state}"
            out.print(Text(f"Job {one.id} {said}"))
    if as_json:
        _print_json(found)


@job.command("retry")
def retry(name: JobId, user: User = None, stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Put a job that has ended back in the queue, as its next attempt, with the same checkpoints."""
    from ws.queue.access import queue_of

    found = queue_of(stack, user).retry(name)
    if as_json:
        _print_json(found)
    else:
        out.print(Text(f"Job {found.id} waits again. {found.why or ''}".rstrip()), soft_wrap=True)


def usage(
    by: Annotated[By, typer.Option("--by", help="Add up by user or by project.")] = By.USER,
    since: Annotated[str, typer.Option(help="Beginning of the period: 30d, 12h, 2026-11-01.", metavar="TIME")] = "30d",
    until: Annotated[
        str | None, typer.Option(help="End of the period. Default: now.", metavar="TIME", show_default=False)
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout, and nothing else.")] = False,
    stack: Stack = "dev",
    as_json: AsJson = False,
) -> None:
    """Show who used how many GPU and CPU hours, and how long jobs waited."""
    from ws.logs.times import moment
    from ws.queue import view
    from ws.queue.access import queue_of

    if as_csv and as_json:
        raise typer.BadParameter("choose one of --csv and --json.", param_hint="--csv")
    begin, end = moment(since) or 0.0, moment(until) or time.time()
    found = queue_of(stack).usage(by.value, begin, end)
    if as_json:
        _print_json(found)
    elif as_csv:
        print(view.usage_csv(found), end="")
    elif found:
        out.print(view.usage_table(found, by.value))
    else:
        out.print(Text("No usage in this period."))


def _wait(client: "QueueClient", name: str, stack: str, *, follow: bool, first: int | None = None) -> "JobView":
    from ws.progress import progress
    from ws.queue.following import Follower, wait_for

    note = lambda text: err.print(Text(text, style="dim"), soft_wrap=True)  # noqa: E731
    logs = Follower(client, name, _write, note, first=first) if follow else None
    try:
        if follow:
            return wait_for(client, name, _once(note), logs)
        with progress(err) as say:
            return wait_for(client, name, say)
    except KeyboardInterrupt:
        again = _ws(stack, "job", "logs", name, "--follow")
        end = _ws(stack, "job", "cancel", name)
        raise WsError(f"\nJob {name} goes on. Follow it again: {again}\n  End it: {end}") from None


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says only what is new, between the lines of a log."""
    said = [""]

    def tell(text: str) -> None:
        if text != said[0]:
            said[0] = text
            say(text)

    return tell


def _end(found: "JobView", stack: str) -> None:
    """Ends the command as the job ended."""
    if found.outcome == "succeeded":
        err.print(Text(f"Job {found.id} succeeded", style="green"))
        return
    why = f": {found.message.partition(LAST_LINES)[0]}" if found.message else ""
    raise WsError(
        f"Job {found.id} ended: {found.outcome}{why}\n"
        f"  Its output: {_ws(stack, 'job', 'logs', found.id)}\n  Retry: {_ws(stack, 'job', 'retry', found.id)}"
    )


def _ws(stack: str, *words: str) -> str:
    return shlex.join(("ws", *words, *(("-s", stack) if stack != "dev" else ())))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _print_json(found: object) -> None:
    from contracts.document import encode

    print(json.dumps(encode(found), indent=2))


def _memory(text: str | None) -> int:
    from config.types import parse_quantity

    if text is None:
        return 0
    try:
        return parse_quantity(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}", param_hint="--memory") from None


def _resource(text: str) -> tuple[str, float]:
    name, _, amount = text.rpartition("=")
    try:
        return name or _refuse(text), float(amount)
    except ValueError:
        _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise typer.BadParameter(f"{text!r} is not NAME=N, such as dataset:phoenix=0.001", param_hint="--resource")
