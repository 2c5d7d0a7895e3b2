"""The commands. Each imports its implementation only when it is called, so that help appears at once."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws import completion
from ws.alerts.commands import alert
from ws.backup.commands import add_commands as add_backup
from ws.client.command import add_commands as add_client
from ws.cluster.commands import add_commands
from ws.config import commands as config_commands
from ws.data.commands import data
from ws.drain_option import with_time
from ws.engine_names import EngineOption
from ws.errors import WsError
from ws.export.command import add_commands as add_export
from ws.generate.command import add_commands as add_generate
from ws.history.commands import add_commands as add_history
from ws.mlflow.commands import mlflow
from ws.packages.commands import packages
from ws.paths import there
from ws.postgres.commands import postgres
from ws.queue.commands import add_commands as add_queue
from ws.running import run
from ws.secrets.commands import secrets
from ws.terminal import FAILED, HELP, AsJson, Drain, Stack, Yes, ask, err, out
from ws.users.commands import users

if TYPE_CHECKING:
    from ws.cluster_test.command import Steps
    from ws.consent import Consent
    from ws.deploy import Session
    from ws.matrix.plan import Plan

app = typer.Typer(
    name="ws",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)
add_commands(app)
add_generate(app)
add_export(app)
add_client(app)
add_history(app)
add_backup(app)
add_queue(app)
app.add_typer(packages, name="packages")
app.add_typer(mlflow, name="mlflow")
app.add_typer(postgres, name="postgres")
app.add_typer(data, name="data")
app.add_typer(users, name="user")
app.add_typer(secrets, name="secrets")
app.add_typer(alert, name="alert")
reports = typer.Typer(invoke_without_command=True, context_settings=HELP)
app.add_typer(reports, name="report")
MOST_RUNS = 1000  # for which a trend is readable

EngineChoice = Annotated[
    EngineOption,
    typer.Option("--engine", help="auto: Pulumi if its CLI is installed or can be downloaded; else embedded."),
]


PolicyPack = Annotated[
    bool,
    typer.Option("--policy-pack", help="With Pulumi: its engine asks the rules of hardening, too (docs/security.md)."),
]
Service = Annotated[
    str, typer.Argument(metavar="SERVICE", help="As `ws ps` lists it.", autocompletion=completion.services)
]


def _show_version(asked: bool) -> None:
    if asked:
        from ws.version import version

        out.print(version(), soft_wrap=True)
        raise typer.Exit


@app.callback()
def everywhere(
    _: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Deploy and operate one host's part of the platform."""


@app.command()
def up(
    stack: Stack = "dev",
    engine: EngineChoice = EngineOption.AUTO,
    yes: Yes = False,
    drain: Drain = None,
    build: Annotated[
        bool,
        typer.Option(
            "--build",
            help="Also build images that exist. Steps that did not change come from the build cache; base images stay "
            "as they are.",
        ),
    ] = False,
    policy_pack: PolicyPack = False,
    _detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            "-d",
            help="Accepted as in Compose, and changes nothing: `up` always returns once the stack is deployed and "
            "verified, and attaches to no logs (`ws logs -f` does).",
        ),
    ] = False,
    rolling: Annotated[
        bool,
        typer.Option(
            "--rolling",
            help="Replace Ray nodes one by one: drain (--drain TIME, default 10m), replace, wait until healthy, "
            "verify. The head comes last. Stop at the first failure.",
        ),
    ] = False,
    revert: Annotated[
        bool,
        typer.Option("--revert/--no-revert", help="With --rolling: restore the former container of a node that fails."),
    ] = True,
    followed: Annotated[
        bool,
        typer.Option("--followed", hidden=True, help="End in good order when stdin ends, as `ws cluster up` asks."),
    ] = False,
) -> None:
    """Set up this host, deploy the stack file to it, and verify the result.

    If running jobs, drivers or notebooks would end, lists them and asks first. Without a terminal it then changes
    nothing, unless --yes or --drain is given.

    With --rolling, --drain says how long the work of each node may take to end. Tasks that have not ended then run
    again elsewhere; jobs whose drivers are on the node end with consent only (asked, or --yes).
    """
    from stack.history import Operation
    from ws.history.recording import recorded
    from ws.rolling.follower import Follower
    from ws.turn import turn

    began = time.monotonic()
    whole = Follower.of_this_run().whole if followed else contextlib.nullcontext
    if not (revert or rolling):
        raise typer.BadParameter("it has a meaning only with --rolling.", param_hint="--no-revert")
    session = _session(stack, rebuild=build, policy_pack=policy_pack)
    words = f"ws up{' --rolling' if rolling else ''}{' --policy-pack' if policy_pack else ''}"
    consent = _consent(words, stack, engine, yes=yes, drain=drain)
    session.refuse_half_restored()
    session.prepare_host()
    choice = session.choose(engine)
    with turn(session.identity, words), recorded(session, Operation.UP, choice.name) as recording:
        if rolling and session.maker:  # else there is nothing yet that could be replaced
            from ws.rolling.run import Rolling

            Rolling(session=session, choice=choice, consent=consent, revert=revert, whole=whole).run(recording)
        else:
            if session.changes_over(choice):
                consent.obtain(lambda: session.cost_of_end(f"the {choice.name} engine recreates all containers"))
                ask(f"Stack {stack} was made by the {session.maker} engine. Its containers will be recreated.", yes=yes)
                session.change_over()
            recording.result = session.up(choice, consent)
            session.report(recording.result)
    assert recording.result is not None  # noqa: S101  (both ways set it)
    session.show_end(recording.result, time.monotonic() - began)


@app.command()
def preview(
    stack: Stack = "dev",
    engine: EngineChoice = EngineOption.AUTO,
    expect_no_changes: Annotated[bool, typer.Option(help="Fail if there is anything to change.")] = False,
    policy_pack: PolicyPack = False,
    as_json: AsJson = False,
) -> None:
    """Show what `up` would change and why, and which running work would end. Changes nothing."""
    from ws import changes
    from ws.consent import show_cost

    session = _session(stack, quiet=as_json, policy_pack=policy_pack)
    choice = session.choose(engine)
    overrides = None
    if session.changes_over(choice):
        session.say(f"Stack {stack} was made by the {session.maker} engine: `up` would take it down first", "yellow")
        overrides = session.changing_over
    result = session.run(choice, lambda chosen: chosen.preview(), overrides)
    found = session.cost(result.changes)
    if as_json:
        print(json.dumps({**changes.as_json(result), "ends": found.as_json()}, indent=2))
    else:
        changes.show_preview(result, out)
        changes.show_failures(result, out)
        show_cost(found, out)
    if not result.ok or (expect_no_changes and not result.unchanged):
        raise typer.Exit(FAILED)


@app.command()
def down(
    stack: Stack = "dev",
    volumes: Annotated[
        bool, typer.Option("--volumes", "-v", help="Also remove the data: volumes, generated secrets, kept state.")
    ] = False,
    yes: Yes = False,
    drain: Drain = None,
) -> None:
    """Remove the stack's containers and network. Data and images stay.

    If running jobs, drivers or notebooks would end, lists them and asks first. Without a terminal it then removes
    nothing, unless --yes or --drain is given. With -v it asks once more on a terminal; elsewhere -v itself confirms.
    """
    from stack.history import Operation
    from ws import changes
    from ws.cluster_test.command import remove as remove_test_network
    from ws.engine_names import EngineName
    from ws.history.recording import recorded
    from ws.turn import turn
    from ws.volumes import in_words

    session = _session(stack)
    consent = _consent("ws down", stack, EngineOption.AUTO, yes=yes, drain=drain)
    maker = session.maker or EngineName.EMBEDDED
    with turn(session.identity, "ws down"), recorded(session, Operation.DOWN, maker) as recording:
        consent.obtain(lambda: session.cost_of_end("the stack is taken down"))
        if volumes:
            for line in in_words(session.identity):
                out.print(Text(f"- {line}", style="red"), soft_wrap=True)
            ask(f"All data of stack {stack} will be lost: volumes, generated secrets, kept state.", yes=yes)
        session.give_redis_away()
        remove_test_network(session)
        result = recording.result = session.take_down(volumes=volumes)
        session.report(result)
    kept = "" if volumes else ". Data stays; -v removes it"
    if session.only_builds:
        kept = ". Images stay; `ws matrix --prune --no-build` removes old ones"
    out.print(Text(changes.counts(result, planned=False).capitalize() + kept, style="bold green"))


@app.command("build")
def build_service_image(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image of a service, such as system-info-exporter.")],
    stack: Stack = "dev",
) -> None:
    """Build the image of one service, named by the platform's version: for `docker run`, without a stack."""
    from ws.progress import progress
    from ws.service_image import build_image
    from ws.stack_settings import open_stack

    began = time.monotonic()
    with progress(err) as say:
        tag = build_image(image, open_stack(stack), say)
    err.print(f"Built in {time.monotonic() - began:.1f} s")
    print(tag)


@app.command()
def matrix(
    cuda: Annotated[list[str] | None, typer.Option(help="CUDA versions.", metavar="GLOB", show_default=False)] = None,
    python: Annotated[list[str] | None, typer.Option(help="Python versions.", metavar="GLOB")] = None,
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="Build targets.", metavar="GLOB")] = None,
    phase: Annotated[
        list[int] | None,
        typer.Option(min=1, max=4, help="1 runtime, 2 ray-runtime, 3 marimo-runtime, 4 devel ones.", metavar="NUMBER"),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(help="Images of services, such as health or transcription-backend.", metavar="GLOB"),
    ] = None,
    minimal: Annotated[bool, typer.Option("--minimal", help="Build one image of each target.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Build the whole family, regardless of the stack file.")
    ] = False,
    platform: Annotated[list[str] | None, typer.Option(help="linux/amd64, linux/arm64.", metavar="PLATFORM")] = None,
    registry: Annotated[str | None, typer.Option(help="Registry prefix of the image names.", metavar="PREFIX")] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the images to that registry.")] = False,
    also_tag: Annotated[
        str | None,
        typer.Option(
            help="Also tag each image, and push it, as …/ml:<image>-TEXT, an image of a service as …/<image>:TEXT, for "
            "example with a commit.",
            metavar="TEXT",
        ),
    ] = None,
    stack: Stack = "matrix",
    engine: EngineChoice = EngineOption.AUTO,
    retries: Annotated[
        int, typer.Option(min=0, help="How often to retry builds that failed because of the network.")
    ] = 2,
    prune: Annotated[
        bool, typer.Option("--prune", help="First remove this project's images that no stack file needs any more.")
    ] = False,
    refresh_bases: Annotated[
        bool,
        typer.Option(
            "--refresh-bases",
            help="First make all base images anew, with Debian's updates of today. Other stacks of this host follow "
            "with their next `up`.",
        ),
    ] = False,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Do what --prune and --refresh-bases say, and build nothing afterwards.")
    ] = False,
    only_list: Annotated[bool, typer.Option("--list", help="Show what would be built, and build nothing.")] = False,
    signing_key: Annotated[
        Path | None,
        typer.Option(help="OpenSSH key that signs a list of what was pushed.", metavar="FILE", callback=there),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Show whether the registry's images are in a signed list, and build nothing. Fails if not."
        ),
    ] = False,
    signers: Annotated[
        Path | None,
        typer.Option(help="With --verify: OpenSSH's file of allowed signers.", metavar="FILE", callback=there),
    ] = None,
    yes: Yes = False,
) -> None:
    """Build the image family and the images of services, or a selection of them. Deploys nothing.

    Options left out default to the stack file. Options that take a GLOB may be repeated. --target, --phase and --all
    select images of the family and no others, --service images of services and no others; --cuda and --python narrow
    both, and select the family where they stand alone.
    """
    from ws.matrix import plan as family
    from ws.matrix import run as matrix_run
    from ws.matrix import signing, tags

    tags.check(also_tag)
    if no_build and not (prune or refresh_bases):
        raise typer.BadParameter("it has a meaning only with --prune or --refresh-bases.", param_hint="--no-build")
    session = _session(stack)
    named = {"cuda": cuda, "python": python, "targets": target, "phases": phase}
    options = family.selected(named, service or (), whole=everything)
    said = {"platforms": platform or None, "registry": registry, "signing_key": signing_key and str(signing_key)}
    options |= {key: value for key, value in said.items() if value is not None}
    options |= {key: True for key, asked in (("minimal", minimal), ("push", push)) if asked}
    session.check_config()
    if verify or signers is not None:
        _verify(family.plan(session, options), signers, asked=verify)
        return
    if not (only_list or no_build):
        session.prepare_host()
    if refresh_bases:
        _refresh_bases(session, only_list=only_list)
    planned = None if no_build else family.plan(session, options)
    if prune:
        _prune(session, planned, yes=yes, only_list=only_list)
    if planned is None:
        return
    out.print(family.table(planned, out.width))
    out.print(Text(family.in_words(planned), style="bold"))
    if only_list:
        return
    family.refuse(signing.key_problem(planned, asked=signing_key is not None), session, options)
    matrix_run.note_cache()
    outcome = matrix_run.build(session, session.choose(engine), planned, retries)
    matrix_run.note_cache()
    if also_tag:
        tags.also(planned, outcome, also_tag, session.say)
    signing.sign_pushed(planned, outcome, also_tag, signing.folder_of(session), session.say)
    matrix_run.show_outcome(outcome, out, err)
    matrix_run.notify(session.stack, outcome, err)
    if outcome.failures:
        raise typer.Exit(FAILED)


@reports.callback()
def report(
    context: typer.Context,
    last: Annotated[
        int | None,
        typer.Option(
            "--last", "-n", min=1, max=MOST_RUNS, help="Also show the trend over this many runs.", show_default=False
        ),
    ] = None,
    image: Annotated[
        str, typer.Option("--image", "-i", help="Only images whose name, or name and variant, match.", metavar="GLOB")
    ] = "*",
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the report as Markdown.", metavar="FILE", callback=there)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Also write the report as one page with charts.", metavar="FILE", callback=there)
    ] = None,
    as_json: AsJson = False,
    compressed: Annotated[
        bool,
        typer.Option("--compressed", help="Also measure compressed sizes that no registry reports. Takes minutes."),
    ] = False,
    sbom: Annotated[
        Path | None,
        typer.Option(help="Write each image's bill of materials (CycloneDX).", metavar="FOLDER", callback=there),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Write the contents of each image, as Markdown.", metavar="FOLDER", callback=there),
    ] = None,
) -> None:
    """Show the last image builds: times, sizes, what grew and why."""
    if context.invoked_subcommand:
        return
    from ws.report import Files, show

    files = Files(markdown=markdown, html=html, sbom=sbom, manifest=manifest)
    show(out, err, last=last, image=image, as_json=as_json, compressed=compressed, files=files)


@reports.command("note")
def report_note(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, by the beginning of its name; or: last")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The remark; an empty one removes it.")],
) -> None:
    """Keep a remark on a run of builds, for the trend's column Notes: ws report note last "new mirror"."""
    from ws.report import note

    out.print(Text(f"Noted on {note(run, text)}; `ws report --last 10` shows it"))


@app.command()
def ps(stack: Stack = "dev") -> None:
    """List the stack's containers, and the alerts that fire."""
    from ws.alerts.client import address_of, firing, outdated, stopped
    from ws.alerts.view import lines
    from ws.containers import containers
    from ws.services import containers_table, health_report, missing_services

    session = _session(stack)
    found = containers(session.identity)
    if not found:
        if session.only_builds:
            out.print(f"Stack {stack} only builds images. They are listed by: ws matrix --list --stack {stack}")
        else:
            out.print(f"Stack {stack} has no containers. Start it with: ws up --stack {stack}")
        return
    report = health_report(found)
    out.print(containers_table(found, report))
    if missing := missing_services(session.identity, found):
        out.print(Text(f"Missing since the last deployment: {', '.join(missing)}. See: ws drift -s {stack}", "yellow"))
    if report.problem:
        out.print(f"Reasons are not known: {report.problem}.", style="yellow", markup=False)
    alerts = firing(found)
    for line in lines(alerts):
        out.print(line, soft_wrap=True)
    if doubt := stopped(found) or (address_of(found) and outdated(found, alerts)):
        out.print(Text(f"{doubt}.", style="yellow"), soft_wrap=True)


@app.command()
def logs(
    services: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SERVICE]…", help="Services to show; all if none is named.", autocompletion=completion.services
        ),
    ] = None,
    stack: Stack = "dev",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stream new output.")] = False,
    tail: Annotated[
        str | None,
        typer.Option(
            "--tail",
            "-n",
            metavar="N|all",
            help="Lines to show per service, from its container and from Ray's files each. By default 100, or all if "
            "other options select lines.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", "-a", help="Include requests of health checks; with --job also messages of Ray itself."),
    ] = False,
    job: Annotated[
        str | None, typer.Option(metavar="ID", help="Only of this job, by its submission ID or Ray's ID.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what this task or actor printed; `*` stands for anything.")
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(help="Only of this level or above: debug, info, warning, error, critical.", metavar="LEVEL"),
    ] = None,
    grep: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Only entries in which this regular expression is found.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on: 10m (ago), 2h, 2026-11-28T03:00 (local time).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to then.")] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only of this Ray node, also on another host; `*` stands for anything."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|all",
            help="Ray's files of this host of the cluster, through its head; `all`: of every host, with this one's "
            "containers. Docker's logs are only read on their host: ssh HOST bin/ws logs.",
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only of this file of Ray's, such as 'raylet*'; `container`: Docker's log."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each entry as a line of JSON: time, service, node, source, job, …")
    ] = False,
) -> None:
    """Show the services' logs and the files of Ray's sessions, by time, also of containers that are gone.

    Leaves out requests of the platform's own health checks. Says on stderr what it read.

    Exit code: 1 if the options match no entry, as with grep, or on failure.
    """
    from dataclasses import replace

    from ws.logs.command import check, parse_tail, show_logs
    from ws.logs.query import Query
    from ws.logs.times import moment

    query = Query(
        services=tuple(services or ()),
        nodes=tuple(node or ()),
        sources=tuple(source or ()),
        task=task or "",
        jobs=(job,) if job else (),
        level=level or "",
        grep=grep or "",
        since=moment(since),
        until=moment(until),
        follow=follow,
        everything=everything,
    )
    check(query)
    query = replace(query, tail=parse_tail(tail, query))
    session = _session(stack)
    if session.only_builds:
        raise WsError(f"stack {stack} only builds images. For their builds, see: ws report")
    # Ctrl-C is the normal way to stop following.
    with contextlib.suppress(KeyboardInterrupt):
        found = show_logs(
            session.stack,
            query,
            hosts=tuple(host or ()),
            job=job,
            probes=everything,
            as_json=as_json,
            out=out,
            err=err,
        )
        if (query.filters or host) and not found:
            raise typer.Exit(FAILED)


@app.command("exec", context_settings={"allow_interspersed_args": False})
def execute(
    service: Service,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments.")],
    stack: Stack = "dev",
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="User, or user:group, to run as.", show_default=False)
    ] = None,
    workdir: Annotated[
        str | None, typer.Option("--workdir", "-w", help="Folder to run in.", metavar="DIR", show_default=False)
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", help="One more variable.", metavar="NAME=VALUE")
    ] = None,
) -> None:
    """Run a program in a running service, with its environment: ws exec ray-cpu -- ray status

    Options of ws come before SERVICE; what follows it is the program's own. The exit code is the program's.
    """
    from ws import inside
    from ws.environment import inherited

    command = command[1:] if command[0] == "--" else command
    if not command or command[0].startswith("-"):
        raise typer.BadParameter(
            "options come before SERVICE: ws exec -s STACK SERVICE -- COMMAND", param_hint="COMMAND"
        )
    container = inside.running(_session(stack, quiet=True).identity, service)
    inside.become(
        inside.docker_arguments(
            container.name,
            inside.COMMAND,
            command,
            terminal=inside.has_terminal(),
            user=user,
            folder=workdir,
            env=env or (),
        ),
        inherited(),
    )


@app.command()
def shell(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE", help="As `ws ps` lists it.", autocompletion=completion.services, show_default=False
        ),
    ] = None,
    stack: Stack = "dev",
    devel: Annotated[
        bool,
        typer.Option("--devel", help="Open it in the devel container, which has compilers and debuggers."),
    ] = False,
    user: Annotated[
        str | None, typer.Option("--user", "-u", help="User, or user:group, to run as.", show_default=False)
    ] = None,
) -> None:
    """Open a shell in a running service: bash where its image has it, else sh.

    From other computers, people log in to the devel container with ssh (docs/devel.md).
    """
    from ws import inside
    from ws.environment import inherited

    if devel == (service is not None):
        raise typer.BadParameter("name a service, or give --devel", param_hint="SERVICE")
    identity = _session(stack, quiet=True).identity
    container = inside.devel(identity) if service is None else inside.running(identity, service)
    terminal = inside.has_terminal()
    folder = inside.HOME if service is None else None
    arguments = inside.docker_arguments(container.name, inside.SHELL, terminal=terminal, user=user, folder=folder)
    inside.become(arguments, inherited())


@app.command("test")
def verify(
    stack: Stack = "dev",
    as_json: AsJson = False,
    up: Annotated[bool, typer.Option("--up", help="Start the test network.")] = False,
    run: Annotated[bool, typer.Option("--run", help="Run its checks; if it is not up, only for their time.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Show the logs of its containers.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Remove it.")] = False,
    junit: Annotated[
        Path | None,
        typer.Option(
            help="Write the results of --run as JUnit XML.", metavar="FILE", callback=there, show_default=False
        ),
    ] = None,
) -> None:
    """Verify the running stack from inside its network, as each deployment does.

    --up, --run, --logs and --down test it as another machine would: from containers in a network of their own, which
    reach the stack only by its published ports. Several of them are done in this order.
    """
    from config.project import FOLDER
    from stack.state import stack_folder
    from verification.record import ENVIRONMENT as RECORD
    from verification.record import FILE
    from verification.spec import ENVIRONMENT
    from ws.environment import inherited

    session = _session(stack, quiet=True)
    if session.only_builds:
        raise WsError(f"stack {stack} only builds images. To test their contents: make test ARGS=tests/images")
    if up or run or logs or down or junit:
        from ws.cluster_test.command import Steps

        _test_network(session, Steps(up=up, run=run or junit is not None, logs=logs, down=down, junit=junit), as_json)
        return
    session.require_deployed()
    last = session.last_verification
    if last is None:
        raise WsError(
            f"stack {stack} is not completely deployed, or has no service that can run the checks.\n"
            f"  Run: ws up --stack {stack}"
        )
    arguments = [sys.executable, "-m", "verification", *(["--json"] if as_json else [])]
    record = stack_folder(session.identity) / FILE
    environment = inherited(**{ENVIRONMENT: last.spec.model_dump_json(), RECORD: str(record)})
    stdout = None if as_json else subprocess.DEVNULL
    raise typer.Exit(subprocess.run(arguments, cwd=FOLDER, env=environment, stdout=stdout, check=False).returncode)


@app.command()
def doctor(stack: Stack = "dev") -> None:
    """Check every precondition, and say how to meet the missing ones."""
    from config.project import FOLDER
    from config.stack_file import refuse_name
    from ws.doctor.checks import State, rows
    from ws.doctor.facts import Facts
    from ws.doctor.view import table

    refuse_name(FOLDER, stack)  # all other faults of a stack are rows of the table
    found = rows(Facts.collect(stack))
    out.print(table(found))
    if any(row.state is State.FAIL for row in found):
        raise typer.Exit(FAILED)


@app.command()
def outputs(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show the stack's outputs: addresses, sources of images, the last verification (its details with --json)."""
    session = _session(stack, quiet=True)
    found = session.outputs()
    if as_json:
        last = session.last_verification
        report = {"verification_report": last.report.model_dump(mode="json")} if last and last.report else {}
        print(json.dumps({**found, **report}, indent=2, default=str))
        return
    for name, value in sorted(found.items()):
        out.print(Text(name, style="bold"))
        out.print(value if isinstance(value, str) else json.dumps(value, indent=2, default=str), soft_wrap=True)


@app.command()
def env(stack: Stack = "dev") -> None:
    """Print the environment in which your shell's `pulumi` sees the same stacks: eval "$(ws env)"."""
    import shlex

    from ws.environment import FOR_PULUMI
    from ws.stack_settings import open_stack

    environment = open_stack(stack).environment
    for name in FOR_PULUMI:
        if name in environment:
            print(f"export {name}={shlex.quote(environment[name])}")


config_commands.add_commands(app)


def _session(stack: str, *, quiet: bool = False, rebuild: bool = False, policy_pack: bool = False) -> "Session":
    from ws.deploy import Session
    from ws.stack_settings import open_stack

    return Session(open_stack(stack), err if quiet else out, rebuild=rebuild, policy_pack=policy_pack)


def _consent(words: str, stack: str, engine: EngineOption, *, yes: bool, drain: str | None) -> "Consent":
    from ws.consent import Command, Consent
    from ws.drain_option import parse_duration

    named = "" if engine is EngineOption.AUTO else engine.value
    command = Command(words=words, stack=stack, engine=named)
    return Consent(command=command, console=out, yes=yes, drain=None if drain is None else parse_duration(drain))


def _prune(session: "Session", planned: "Plan | None", *, yes: bool, only_list: bool) -> None:
    """Shows unused images, and removes them. `planned`: what is built afterwards, if anything."""
    from build_report.store import Store
    from build_report.units import size
    from config.project import FOLDER
    from config.stack_file import stacks
    from docker_api.api import DockerApi
    from ws.matrix import cache, prune
    from ws.stack_settings import StackSettings

    api = DockerApi()
    own = session.stack
    others = [StackSettings.read(stack, own.environment) for stack in stacks(FOLDER) if stack != own.file.stack]
    # Images that only this run's options select, and their bases, may be in no stack file.
    this_run = [own.file.config.laid_over(planned.without(()))] if planned else []
    wanted = prune.wanted_tags([*(stack.file.config for stack in (own, *others)), *this_run])
    old = prune.look(api, wanted, Store().step_names())
    out.print(cache.table(list(old.cache)))
    for reference in old.images:
        out.print(Text(f"- {reference}", style="red"), soft_wrap=True)
    if old.containers:
        out.print(Text(f"- {len(old.containers)} containers of build reports that were killed", style="red"))
    found = f"{len(old.images)} images and {len(old.records)} records of the build cache are old: {size(old.size)}"
    if only_list or not old:
        out.print(found)
        return
    ask(f"{found}. They will be removed.", yes=yes)
    for sentence in prune.remove(api, old):
        err.print(Text(sentence, style="yellow"), soft_wrap=True)


def _verify(planned: "Plan", signers: Path | None, *, asked: bool) -> None:
    """Shows which of the registry's images are signed; fails if one is not."""
    from ws.matrix import verify

    if not asked:
        raise typer.BadParameter("it has a meaning only with --verify.", param_hint="--signers")

    found, read = verify.verdicts(planned, str(signers) if signers else None)
    out.print(verify.table(found))
    for sentence in read.refused[:3]:
        err.print(Text(f"Does not count: {sentence}", style="yellow"), soft_wrap=True)
    good = sum(one.verdict == verify.SIGNED for one in found)
    out.print(Text(f"{good} of {len(found)} are signed", style="bold"))
    if good < len(found):
        raise typer.Exit(FAILED)


def _refresh_bases(session: "Session", *, only_list: bool) -> None:
    """Gives all bases of this host today's tags, so that whatever is built next makes them."""
    from datetime import date

    from stack import base_age

    today = date.today()
    if only_list:
        session.say(f"--list changes nothing: bases stay those of {base_age.edition() or 'their first making'}")
    elif base_age.renew(today):
        session.say(f"Base images are of {today} from now on; every image is built on them again")
    else:
        session.say("Base images are of today already")


def _test_network(session: "Session", steps: "Steps", as_json: bool) -> None:
    """Does the steps of the cluster test."""
    from ws.cluster_test.command import perform

    report = perform(session, steps, err if as_json else out)
    if report and as_json:
        print(report.model_dump_json())
    if report and not report.ok:
        raise typer.Exit(FAILED)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; see `run`."""
    return run(app, with_time(sys.argv[1:] if arguments is None else arguments))
