"""`ws backup` and `ws restore`: a stack's data, kept elsewhere and brought back."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws.errors import WsError
from ws.paths import there
from ws.terminal import FAILED, HELP, AsJson, Stack, Yes, confirm, err, out

if TYPE_CHECKING:
    from config.backup import BackupSettings
    from stack.identity import StackIdentity
    from ws.backup.place import Options
    from ws.backup.restic import Repository
    from ws.backup.restoring import Report
    from ws.backup.sets import Manifest
    from ws.stack_settings import StackSettings

HANDED_ON = ("HOME", "XDG_STATE_HOME", "DOCKER_HOST")  # variables, to the timer: by them it finds the same stack
backup = typer.Typer(invoke_without_command=True, context_settings=HELP)

RepositoryOption = Annotated[
    str | None, typer.Option("--repository", help="Instead of backup.repository.", metavar="PLACE", show_default=False)
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="Instead of backup.password_file.", metavar="FILE", callback=there, show_default=False),
]
S3Credentials = Annotated[
    Path | None,
    typer.Option(
        "--s3-credentials",
        help="Instead of backup.s3_credentials.",
        metavar="FILE",
        callback=there,
        show_default=False,
    ),
]
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="BACKUP", help="Its name in `ws backup list`, or the beginning of it. Default: the last one."
    ),
]
FromStack = Annotated[
    str | None, typer.Option("--from", help="The stack that was backed up, if it had another name.", metavar="NAME")
]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A stack and its repository."""

    identity: "StackIdentity"
    settings: "StackSettings"
    repository: "Repository"

    @property
    def backup(self) -> "BackupSettings":
        """Its settings of backups."""
        return self.settings.platform.backup


@backup.callback()
def make(
    context: typer.Context,
    stack: Stack = "dev",
    new: Annotated[
        bool, typer.Option("--new", help="Begin a new repository in the place of one that is lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Back up the stack with restic, encrypted: databases, artifacts, notebooks, home, queue, stack file, secrets.

    The stack stays in use. Only what has changed since the last backup is stored.
    """
    if context.invoked_subcommand:
        _refuse_options_before(context, context.invoked_subcommand)
        return
    from build_report.units import size
    from docker_api.api import DockerApi
    from stack import unfinished_restore
    from ws.backup.display import Shown
    from ws.backup.taking import Taking, maintenance, make_repository, manifest_as_json

    began = time.monotonic()
    opened = _open(stack, make_password=True)
    with maintenance(opened.identity, "ws backup"):
        unfinished_restore.check(opened.identity, {})
        made = make_repository(opened.identity, opened.repository, anew=new)
        taking = Taking(
            identity=opened.identity,
            settings=opened.settings.platform,
            repository=opened.repository,
            shown=Shown(console=err),
            api=DockerApi(),
        )
        manifest = taking.run()
    if made:
        err.print(
            Text(
                f"Keep a copy of {opened.repository.password_file} elsewhere: without this password, nobody can "
                "restore a backup.",
                style="bold yellow",
            ),
            soft_wrap=True,
        )
    if as_json:
        print(manifest_as_json(manifest))
    else:
        out.print(
            Text(
                f"Backup {manifest.name}: {manifest.files} files, {len(manifest.databases)} databases, "
                f"{size(manifest.size)}; {size(manifest.added)} new, in {time.monotonic() - began:.0f} s",
                style="bold yellow" if manifest.unread else "bold green",
            ),
            soft_wrap=True,
        )
    if manifest.unread:
        raise WsError(f"the backup {manifest.name} lacks {manifest.unread} files that could not be read, see above.")


@backup.command("list")
def list_backups(
    stack: Stack = "dev",
    every: Annotated[bool, typer.Option("--all", help="List those of all stacks in the repository.")] = False,
    repository: RepositoryOption = None,
    password_file: PasswordFile = None,
    s3_credentials: S3Credentials = None,
    as_json: AsJson = False,
) -> None:
    """List the backups of the stack."""
    from ws.backup.display import table_of
    from ws.backup.place import Options
    from ws.backup.sets import entries, manifest_of

    opened = _open(stack, Options(repository=repository, password_file=password_file, s3_credentials=s3_credentials))
    found = [
        (entry, manifest_of(opened.repository, entry) if entry.manifest else None)
        for entry in entries(opened.repository, None if every else stack)
    ]
    if as_json:
        print(json.dumps([manifest.model_dump(mode="json") for _, manifest in found if manifest], indent=2))
    elif found:
        out.print(table_of(found))
    else:
        out.print(f"There is no backup of stack {stack}. Make one with: ws backup -s {stack}")


@backup.command("verify")
def verify(
    name: Name = None,
    stack: Stack = "dev",
    from_stack: FromStack = None,
    within: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the temporary copy. Default: /tmp.", metavar="FOLDER", callback=there, show_default=False
        ),
    ] = None,
    repository: RepositoryOption = None,
    password_file: PasswordFile = None,
    s3_credentials: S3Credentials = None,
) -> None:
    """Restore a backup temporarily, and compare each file and each table with it. Changes no data.

    The exit code is 1 if anything differs.
    """
    from docker_api.api import DockerApi
    from ws.backup.display import Shown
    from ws.backup.place import Options
    from ws.backup.sets import chosen, entries, manifest_of
    from ws.backup.verifying import Verifying

    opened = _open(stack, Options(repository=repository, password_file=password_file, s3_credentials=s3_credentials))
    manifest = manifest_of(opened.repository, chosen(entries(opened.repository), from_stack or stack, name))
    report = Verifying(
        identity=opened.identity,
        manifest=manifest,
        repository=opened.repository,
        shown=Shown(console=err),
        within=within,
        postgres=opened.settings.platform.postgres,
        api=DockerApi(),
    ).run()
    _tell(report, manifest, "is complete")


@backup.command("prune")
def prune(
    stack: Stack = "dev",
    repository: RepositoryOption = None,
    password_file: PasswordFile = None,
    s3_credentials: S3Credentials = None,
    yes: Yes = False,
) -> None:
    """Remove the backups that `backup.keep` does not keep, and what interrupted ones left."""
    from ws.backup.place import Options
    from ws.backup.retention import plan, remove
    from ws.backup.sets import entries
    from ws.backup.taking import maintenance

    options = Options(repository=repository, password_file=password_file, s3_credentials=s3_credentials)
    opened = _open(stack, options)
    planned = plan(entries(opened.repository, stack), opened.backup.keep)
    for entry in planned.removed:
        out.print(Text(f"- {entry.name}{'' if entry.manifest else ' (interrupted)'}", style="red"))
    if not planned.removed:
        out.print(f"Nothing to remove: {len(planned.kept)} backups are kept.")
        return
    confirm(
        f"{len(planned.removed)} backups of stack {stack} will be removed permanently; {len(planned.kept)} are kept.",
        yes=yes,
        confirmed=join(["ws", "backup", "prune", "-s", stack, *options.words, "--yes"]),
    )
    with maintenance(opened.identity, "ws backup prune"):
        remove(opened.repository, planned.removed)
    out.print(Text(f"{len(planned.removed)} removed, {len(planned.kept)} kept", style="bold green"))


@backup.command("schedule")
def schedule(
    stack: Stack = "dev",
    install: Annotated[bool, typer.Option("--install", help="Write the units and start the timer.")] = False,
) -> None:
    """Print a systemd timer that makes backups at the times in `backup.schedule`, and prunes; or install it."""
    import subprocess

    from ws.backup.place import refuse_other_users
    from ws.backup.schedule import UNITS, refuse_other_hosts, units
    from ws.stack_settings import open_stack

    if install:
        refuse_other_users()
    opened = open_stack(stack)
    kept = {key: value for key, value in opened.environment.items() if key in HANDED_ON}
    texts = units(opened.identity, opened.platform.backup.schedule, kept)
    if not install:
        for name, text in texts.items():
            print(f"# {UNITS / name}\n{text}")
        return
    refuse_other_hosts(opened.identity, kept)
    for name, text in texts.items():
        (UNITS / name).write_text(text)
    timer = next(name for name in texts if name.endswith(".timer"))
    for command in (("systemctl", "daemon-reload"), ("systemctl", "enable", "--now", timer)):
        if subprocess.run(command, check=False).returncode:
            raise WsError(f"`{join(command)}` failed, see above. The units are in {UNITS}.")
    out.print(Text(f"{timer} is on; `systemctl list-timers {timer}` shows when it runs next", style="bold green"))


def restore(
    name: Name = None,
    stack: Stack = "dev",
    from_stack: FromStack = None,
    repository: RepositoryOption = None,
    password_file: PasswordFile = None,
    s3_credentials: S3Credentials = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data of a stack that is on this host.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Restore a stack from a backup and deploy it: on a new host, or under another name with -s.

    It compares what it restores with the backup: rows, files, and artifacts with runs. The exit code is 1 if anything
    differs. Run it again if it was interrupted.
    """
    from config.project import FOLDER
    from config.project import NAME as PROJECT
    from config.stack_file import refuse_name, stack_file
    from docker_api.api import DockerApi
    from stack.identity import StackIdentity
    from ws.backup.display import Shown
    from ws.backup.place import Options, refuse_other_users, repository_of
    from ws.backup.restoring import Restoring
    from ws.backup.sets import chosen, entries, manifest_of
    from ws.stack_settings import open_stack

    refuse_other_users()
    refuse_name(FOLDER, stack)
    identity = StackIdentity(project=PROJECT, stack=stack)
    # Without its file, not even the environment is prepared: that would make the passphrase that the backup has.
    settings = open_stack(stack).platform.backup if stack_file(FOLDER, stack).is_file() else None
    options = Options(repository=repository, password_file=password_file, s3_credentials=s3_credentials)
    place = repository_of(identity, settings, options, _warn)
    manifest = manifest_of(place, chosen(entries(place), from_stack or stack, name))
    words = ["ws", "restore", manifest.name, "-s", stack, *options.words, *(["--overwrite"] if overwrite else [])]
    restoring = Restoring(
        identity=identity,
        manifest=manifest,
        repository=place,
        shown=Shown(console=err),
        command=join(words),
        settings=lambda: open_stack(stack).platform,
        overwrite=overwrite,
        api=DockerApi(),
    )
    restoring.refuse_what_is_there()
    confirm(
        f"Stack {stack} will be restored from the backup {manifest.name} of stack {manifest.stack}"
        + (", and its present data will be lost." if overwrite else "."),
        yes=yes or not overwrite,
        confirmed=join([*words, "--yes"]),
    )
    report = restoring.run()
    for sentence in report.kept:
        err.print(Text(sentence, style="yellow"), soft_wrap=True)
    _tell(report, manifest, f"is restored as stack {stack}")


def add_commands(app: typer.Typer) -> None:
    """Adds them to `ws`."""
    app.add_typer(backup, name="backup")
    app.command("restore")(restore)


def _refuse_options_before(context: typer.Context, command: str) -> None:
    """`ws backup -s gpu prune` would prune the stack dev, since options here are those of making a backup."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"give the options of {command} after it: ws backup {command} …",
                ctx=context,
                param_hint=" / ".join(parameter.opts),
            )


def _open(stack: str, options: "Options | None" = None, *, make_password: bool = False) -> Opened:
    from ws.backup.place import Options, refuse_other_users, repository_of
    from ws.stack_settings import open_stack

    refuse_other_users()
    settings = open_stack(stack)
    chosen = options or Options()
    place = repository_of(settings.identity, settings.platform.backup, chosen, _warn, make_password=make_password)
    return Opened(identity=settings.identity, settings=settings, repository=place)


def _warn(text: str) -> None:
    err.print(Text(text, style="yellow"), soft_wrap=True)


def _tell(report: "Report", manifest: "Manifest", what: str) -> None:
    """What a comparison found. Raises `typer.Exit` where anything differs."""
    found = report.orphans
    if found:
        for path in found.folders[:10]:
            out.print(Text(f"artifacts without a run: {path}", style="yellow"), soft_wrap=True)
        counts = f"{len(found.folders)} folders of artifacts without a run, {len(found.without)} runs without artifacts"
        out.print(Text(counts))
    for sentence in report.differences:
        out.print(Text(sentence, style="red"), soft_wrap=True)
    compared = f"{report.files} files and {report.rows} rows in {report.tables} tables compared"
    if report.differences:
        out.print(Text(f"Backup {manifest.name} differs: {compared}", style="bold red"), soft_wrap=True)
        raise typer.Exit(FAILED)
    out.print(Text(f"Backup {manifest.name} {what}: {compared}, no difference", style="bold green"), soft_wrap=True)
