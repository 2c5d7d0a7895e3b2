"""What `ws generate` writes, and what it says."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config.platform import PlatformSettings
from config.project import FOLDER
from docker_api.api import DockerError
from embedded_engine.changes import Result
from preflight.host_facts import outside_addresses
from stack.state import stack_folder
from verification.record import FILE, Record
from ws.containers import containers
from ws.deploy import Session
from ws.display import display_on
from ws.errors import WsError
from ws.generate import cluster_test, program, text
from ws.generate.compose import compose_file
from ws.generate.program import Declared, declared

COMPOSE, CLUSTER_TEST = "compose.yaml", "cluster-test.compose.yaml"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written, and what to say of it."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]
    next_step: str


def write(session: Session, folder: Path, *, build: bool) -> Written:
    """Writes the stack's Compose file into `folder`. Raises `WsError`, and what the program refuses."""
    if session.only_builds:
        raise WsError(f"stack {session.identity.stack} only builds images: there is nothing for Docker Compose to run")
    settings = session.stack.deployable
    if build:
        session.prepare_host()
    with display_on(session.console) as display, session.program_speaks():
        found = declared(FOLDER, session.stack.file.config, display, build=build)
    if found.failed:
        session.report(Result(changes=list(found.failed)))
    path, test = folder / COMPOSE, folder / CLUSTER_TEST
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(compose_text(found, settings, path), encoding="utf-8")
    test.unlink(missing_ok=True)
    if found.verification:  # else no image can run its client
        content = cluster_test.text_of(found, found.verification, settings, shown(test), outside_addresses())
        test.write_text(content, encoding="utf-8")
    keep_expectation(session, found)
    lacking = program.missing(found.images)
    command = f"docker compose -f {shown(path)}"
    stack = session.identity.stack
    return Written(
        paths=tuple(one for one in (path, test) if one.is_file()),
        notes=(
            f"Not on this Docker host yet: {', '.join(lacking)}. This builds or pulls them: "
            f"ws generate --build --stack {stack}",
        )
        if lacking
        else (),
        next_step=f"Start it: {command} up -d --wait    Verify it: ws test --stack {stack}    End it: {command} down",
    )


def compose_text(found: Declared, settings: PlatformSettings, path: Path) -> str:
    """The text of the stack's Compose file."""
    about = {name: first_line(type(settings.service(name)).__doc__) for name in settings.services()}
    return text.render(compose_file(found), header=header(found, path), about=about)


def header(found: Declared, path: Path) -> tuple[str, ...]:
    """The file's first comment lines."""
    command = f"docker compose -f {shown(path)}"
    return (
        f"Stack {found.stack} of the CSLR experiment platform for Docker Compose: the containers that `ws up` makes.",
        f"Written by `ws generate` from Pulumi.{found.stack}.yaml. Change that, and run `ws generate` again.",
        "",
        f"  {command} up -d --wait",
        f"  ws test --stack {found.stack}",
        f"  {command} down",
        "",
        "Images: `ws generate --build` makes them; their tags name their content. Secrets and programs are files of",
        "this host, whose paths change with their content: Compose then recreates the containers that use them.",
        "Compose does not ask before running work ends, and verifies nothing: `ws test` does.",
    )


def first_line(doc: str | None) -> str:
    """The first sentence of a docstring."""
    return (doc or "").strip().splitlines()[0]


def shown(path: Path) -> str:
    """A path as people would type it in the project's folder."""
    return str(path.relative_to(FOLDER)) if path.is_relative_to(FOLDER) else str(path)


def keep_expectation(session: Session, found: Declared) -> None:
    """Tells `ws test` what to expect of the containers that Compose starts, unless an engine's own are here."""
    if found.verification is None:
        return
    with suppress(DockerError):  # without Docker nothing is verified
        if all(one.compose for one in containers(session.identity)):
            Record(spec=found.verification).write(stack_folder(session.identity) / FILE)
