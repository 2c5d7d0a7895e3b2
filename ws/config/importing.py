"""`ws import`: writes a stack file from the predecessor's files, and says what became of each of their keys."""

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.load import load
from config.platform import KEY
from config.problems import SettingsError
from config.project import FOLDER, NAME
from config.stack_file import refuse_name, stack_file
from config.yaml_file import InvalidYamlError, dump_yaml, read_yaml
from stack.identity import StackIdentity
from ws.config.editing import alone, put
from ws.config.former import Conversion, convert
from ws.errors import WsError
from ws.tables import plain_table
from ws.users.accounts import turn_on

HEADER = "# yaml-language-server: $schema=Pulumi.stack.schema.json\n# Made by `ws import` from {files}.\n"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was written, and what is wrong with it."""

    file: Path
    conversion: Conversion
    problems: str = ""


def import_files(config: Path, nodes: Path | None, stack: str, *, dry_run: bool = False) -> Imported:
    """Converts the files and writes the stack's file. Raises `WsError` and `ConfigError`; overwrites nothing."""
    refuse_name(FOLDER, stack)
    file = stack_file(FOLDER, stack)
    if not dry_run:
        _refuse_present(file)
    beside = config.with_name("nodes.yaml")
    nodes = nodes or (beside if beside.is_file() else None)
    done = convert(_read(config), _read(nodes) if nodes else None, config.resolve().parent)
    problems = ""
    try:
        load(done.settings, stack_file=file.name)
    except SettingsError as error:
        problems = str(error)
    if not dry_run:
        names = " and ".join(path.name for path in (config, nodes) if path)
        body = dump_yaml({"config": {KEY: done.settings}}, allow_unicode=True)
        with alone(StackIdentity(project=NAME, stack=stack)):
            _refuse_present(file)
            put(file, (HEADER.format(files=names) + body).encode())
    return Imported(file=file, conversion=done, problems=problems)


def _refuse_present(file: Path) -> None:
    if file.exists():
        raise WsError(f"{file.name} is there already.\n  Choose another name with --stack, or remove the file.")


def _read(path: Path) -> object:
    try:
        return read_yaml(path)
    except InvalidYamlError as error:
        raise WsError(f"{path}: is not valid YAML: {error}.") from None


def table(done: Conversion) -> Table:
    """Each former key and what it is now."""
    shown = plain_table(("Formerly", "Now", "Value"))
    for finding in done.findings:
        if finding.now:
            value = finding.value if isinstance(finding.value, str) else json.dumps(finding.value)
            shown.add_row(finding.former, finding.now, f"{value}  ({finding.why})" if finding.why else value)
    return shown


def show(imported: Imported, console: Console, *, stack: str, dry_run: bool) -> None:
    """The report for people."""
    done = imported.conversion
    console.print(table(done))
    if done.lost:
        console.print(Text("\nNo counterpart:", style="bold"))
    for finding in done.lost:
        console.print(Text(f"- {finding.former}: {finding.why}", style="yellow"), soft_wrap=True)
    kept = len(done.findings) - len(done.lost)
    written = "would be written" if dry_run else "written"
    console.print(
        Text(f"\n{imported.file.name} {written}: {kept} keys converted, {len(done.lost)} without a counterpart"),
        style="bold",
    )
    if imported.problems:
        console.print(Text(imported.problems, style="red"), soft_wrap=True)
    elif not dry_run:
        console.print(Text(f"ws preview -s {stack} shows what it deploys.", style="dim"))
        console.print(Text(f"MLflow asks for no login, as before. To turn logins on: {turn_on(stack)}", style="dim"))
