"""`ws data`: datasets of a stack and its cluster."""

import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ws import completion
from ws.errors import WsError
from ws.terminal import HELP, AsJson, Stack, Yes, confirm, err, out

if TYPE_CHECKING:
    from ws.data.files import Sums

data = typer.Typer(
    help="Datasets: folders that tasks and notebooks share.", no_args_is_help=True, context_settings=HELP
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="As `ws data list` shows it.", autocompletion=completion.datasets)
]


@data.command("list")
def list_datasets(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """List the datasets: source, hosts that hold them, access, size, where containers of this host have them."""
    from ws.data import view
    from ws.data.datasets import open_datasets

    datasets = open_datasets(stack)
    if as_json:
        print(json.dumps(view.datasets_json(datasets), indent=2))
    elif datasets.found:
        out.print(view.datasets_table(datasets))
    else:
        out.print(Text(f"No dataset is declared below {datasets.where()}. How to: docs/datasets.md"), soft_wrap=True)


@data.command("verify")
def verify(
    name: Name,
    record: Annotated[
        bool, typer.Option("--record", help="Record the dataset as it is now, after an intended change.")
    ] = False,
    stack: Stack = "dev",
    as_json: AsJson = False,
) -> None:
    """Compare a dataset's files on this host with their recorded SHA-256 sums: missing, extra and changed ones.

    The first time, it records them in the state folder. The exit code is 1 if there are differences.
    """
    from ws.data import view
    from ws.data.datasets import open_datasets
    from ws.data.files import Record, compare, record_file, write_record

    datasets = open_datasets(stack)
    dataset = datasets.held(name)
    known = None if record else datasets.record(name)
    found = _read(dataset.folder)
    again = shlex.join(("ws", "data", "verify", name, "-s", stack))
    if known is None:
        if found.unreadable:
            raise WsError(
                f"Nothing was recorded: {len(found.unreadable)} of the files in {dataset.folder} cannot be read, "
                f"first of them {found.unreadable[0]}"
            )
        new = Record(source=dataset.settings.source, moment=time.time(), size=found.size, sums=found.of)
        write_record(record_file(datasets.identity, name), new)
        if as_json:
            print(json.dumps({"recorded": len(new.sums)}))
        else:
            out.print(view.recorded(name, new, again, asked=record), soft_wrap=True)
        return
    difference = compare(known, found)
    if as_json:
        print(json.dumps(view.difference_json(difference), indent=2))
    elif not difference:
        out.print(view.verified(name, known), soft_wrap=True)
    for line in view.difference_lines(difference) if difference and not as_json else ():
        out.print(line, soft_wrap=True)
    if difference:
        raise WsError(
            f"{dataset.folder} is not as recorded: {view.summary(difference)}. If that was meant: {again} --record"
        )


@data.command("sync")
def sync(
    name: Name,
    to: Annotated[
        str, typer.Option("--to", metavar="HOST|all", help="Host of the cluster, or all hosts that should hold it.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be copied.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete files there that are not on this host.")] = False,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Compare the content of files, not their sizes and times.")
    ] = False,
    stack: Stack = "dev",
    yes: Yes = False,
) -> None:
    """Copy a dataset from this host to the same path on others, by rsync over SSH. It resumes interrupted copies.

    With --delete it asks first; without a terminal it changes nothing unless --yes is given. With --dry-run --checksum
    --delete it shows how the copies differ from this host's files.
    """
    from ws.data.datasets import open_datasets
    from ws.data.sync import Options, copy, destinations, refuse_empty, refuse_missing_programs

    datasets = open_datasets(stack)
    dataset = datasets.held(name)
    hosts = destinations(datasets, dataset, to)
    refuse_missing_programs()
    refuse_empty(dataset)
    if delete and not dry_run:
        again = ["--checksum"] if checksum else []
        confirm(
            f"Files of {name} on {', '.join(host.name for host in hosts)} that are not on this host will be deleted.",
            yes=yes,
            confirmed=shlex.join(["ws", "data", "sync", name, "--to", to, *again, "--delete", "--yes", "-s", stack]),
        )
    options = Options(dry_run=dry_run, delete=delete, checksum=checksum, progress=out.is_terminal)
    failed = {}
    for host in hosts:
        what = "What would be copied" if dry_run else "Copying"
        out.print(Text(f"{what} to {host.name}: {dataset.folder}", style="bold"), soft_wrap=True)
        if problem := copy(dataset, host, options):
            failed[host.name] = problem
    if failed:
        lines = "\n".join(f"  {host}: {problem}." for host, problem in failed.items())
        raise WsError(f"{name} was not copied to {len(failed)} of {len(hosts)} hosts:\n{lines}")


def _read(folder: Path) -> "Sums":
    """The sums of a folder's files, with a bar on a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from ws.data.files import files_of, sums_of

    files = dict(files_of(folder))
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(f"reading {len(files)} files", total=sum(files.values()))
        return sums_of(folder, list(files), lambda count: progress.advance(task, count))
