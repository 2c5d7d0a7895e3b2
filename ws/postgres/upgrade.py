"""Implements `ws postgres upgrade`: dumps all databases with the version that wrote them; the other one begins with it.

The dump is a file in the data's folder, made while Postgres is stopped (entrypoints/postgres.sh): nothing is written
after it. The next Postgres of another version restores it before it answers; one of the same version removes it. So
`ws up` completes what was interrupted, in either version.
"""

import contextlib
import time
from dataclasses import dataclass

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from build_report.units import size, whole_duration
from config.keys import PREFLIGHT_KEY
from config.project import FOLDER
from docker_api.database_dump import ASK, DATA, PREPARE, SECONDS, DumpError, output
from docker_api.one_off import WHILE_CONNECTED, connected, hardened, limits
from embedded_engine.changes import Result, Scope
from preflight import signatures
from preflight.host_facts import postgres_major
from stack.programs import program_path
from ws import changes
from ws.consent import Consent
from ws.deploy import Session
from ws.engines import Choice
from ws.errors import WsError
from ws.inside import running, there
from ws.progress import progress, wait_until

SCRIPT = "postgres.sh"
DUMPER = "postgres-dump"  # of the name of the container that dumps
STOP_SECONDS, START_SECONDS = 60, 120.0
OF_IMAGES = "cslr:image:"  # in the URNs of images and of their bases
UNCHECKED = {PREFLIGHT_KEY: False}  # the host's checks refuse the other version
# Version of the data, bytes of all databases, bytes that are free.
FACTS = f"""\
set -e
{PREPARE}cat {DATA}/main/PG_VERSION
{ASK} --dbname=postgres --command='SELECT sum(pg_database_size(oid)) FROM pg_database'
df -P -k {DATA} | awk 'NR == 2 {{ print $4 * 1024 }}'
"""  # noqa: S608 (nothing of it is input)


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """One upgrade: the Postgres that runs, and what it has."""

    session: Session
    client: docker.DockerClient
    container: Container
    major: int
    size: int  # bytes of all databases
    free: int  # bytes beside them

    @property
    def target(self) -> int:
        """The version of the image that the stack file asks for; 0 if that is not known, or not yet: it is pulled."""
        settings = self.session.stack.platform.postgres
        if settings.image.source == "pull" and settings.image.reference:
            return postgres_major(settings.image.reference, self.client)
        return settings.version

    def is_needed(self) -> bool:
        """Whether the data is of an earlier version, as far as that is known; says so if not. Raises `WsError`."""
        target, stack = self.target, self.session.identity.stack
        if target == self.major:
            self.session.say(f"Postgres of stack {stack} is of version {target}, as its file asks for. Nothing to do.")
        elif target and target < self.major:
            raise WsError(
                f"Postgres {target} does not read what Postgres {self.major} writes, not even as a dump. "
                "docs/operating.md has the way back to the data of before the upgrade."
            )
        return target != self.major

    def in_words(self) -> str:
        """What will be done, and what that costs."""
        new = f"Postgres {self.target}" if self.target else "its new image"
        return (
            f"This stops Postgres {self.major} of stack {self.session.identity.stack}, and {new} begins with its "
            "databases. MLflow and the queue do not answer meanwhile."
        )

    @classmethod
    def of(cls, session: Session) -> "Upgrade":
        """The upgrade of a stack. Raises `WsError` where its Postgres does not answer."""
        stack = session.identity.stack
        client = docker.from_env(timeout=SECONDS)
        _clear_away(client, session)
        container = _started(client, session)
        # Only a script that takes the lock also removes a dump that is out of date.
        if container.exec_run(["grep", "-q", "flock", program_path(SCRIPT)]).exit_code:
            raise WsError(
                f"this Postgres was deployed by an earlier version of the platform. Deploy this one with it first:\n"
                f"    ws unset postgres.version -s {stack}\n    ws up -s {stack}"
            )
        try:
            said = b"".join(output(client, str(container.id), ["sh", "-c", FACTS]))
            major, used, free = (int(float(number)) for number in said.split())
        except (DumpError, APIError, ValueError) as error:
            raise WsError(f"Postgres of stack {stack} does not tell what it has: {error}") from None
        return cls(session=session, client=client, container=container, major=major, size=used, free=free)

    def refuse_small_disk(self) -> None:
        """The dump and the new data take at most as much as the databases do. Raises `WsError`."""
        if self.free < 2 * self.size:
            raise WsError(
                f"Postgres's disk has {size(self.free)} free, and the upgrade needs {size(2 * self.size)}: twice its "
                "databases. Nothing was changed. `ws mlflow gc` removes what was deleted."
            )

    def make_images(self, choice: Choice, consent: Consent) -> None:
        """Builds or pulls what will run, while the former version serves. Asks for what the deployment would end."""
        session = self.session
        signatures.check(session.stack.platform, session.stack.file.name)  # not only once Postgres is stopped
        planned = session.run(choice, lambda engine: engine.preview(), UNCHECKED)
        _refuse(planned, session)
        # Not the images alone: Pulumi makes a resource only together with what it is part of.
        others = frozenset(change.urn for change in planned.changes if OF_IMAGES not in change.urn)
        _refuse(session.run(choice, lambda engine: engine.up(Scope(without=others)), UNCHECKED), session)
        consent.obtain(lambda: session.cost(planned.changes))

    def dump(self) -> None:
        """Stops Postgres and dumps its databases. Raises `WsError`; Postgres then runs as before."""
        began = time.monotonic()
        try:
            self.container.stop(timeout=STOP_SECONDS)
            self._dump()
        except BaseException as error:
            self._resume()
            if isinstance(error, APIError | DumpError):
                raise WsError(f"the databases could not be dumped; Postgres {self.major} runs again. {error}") from None
            raise
        took = whole_duration(time.monotonic() - began)
        self.session.say(f"Dumped {size(self.size)} of databases ({took})")

    def _resume(self) -> None:
        _clear_away(self.client, self.session)
        self.container.stop(timeout=STOP_SECONDS)  # one that was interrupted goes on, and would end what is started now
        self.container.start()

    def _dump(self) -> None:
        """In a container of the former image, which ends with this process, whatever becomes of that."""
        attributes = self.container.attrs
        host = attributes["HostConfig"]
        client = self.client.containers.create(
            attributes["Image"],
            **{**hardened(), **WHILE_CONNECTED, **limits(host["Memory"]), "user": attributes["Config"]["User"]},
            name=_name(self.session),
            environment=attributes["Config"]["Env"],
            volumes_from=[str(self.container.id)],
            network_mode="none",
            tmpfs={"/tmp": "noexec,nosuid,nodev"},  # noqa: S108 (of the container)
            shm_size=host["ShmSize"],
            healthcheck={"test": ["NONE"]},
        )
        with connected(self.client, str(client.id)), progress(self.session.console) as show:
            show(f"dumping the databases of Postgres {self.major}")
            script = (FOLDER / "entrypoints" / SCRIPT).read_text()
            b"".join(output(self.client, str(client.id), ["sh", "-c", script, SCRIPT, "dump"]))


def _name(session: Session) -> str:
    return session.identity.object_name(DUMPER)


def _clear_away(client: docker.DockerClient, session: Session) -> None:
    """Ends a dump that was interrupted."""
    with contextlib.suppress(NotFound, APIError):  # it may be going already
        client.containers.get(_name(session)).remove(force=True)


def _started(client: docker.DockerClient, session: Session) -> Container:
    """The container of Postgres, started again where a command was killed that had stopped it. Raises `WsError`."""
    container = client.containers.get(there(session.identity, "postgres").identifier)
    if container.status == "exited":
        session.say("Postgres is stopped; starting it")
        container.start()
        wait_until(lambda: _unhealthy(container), START_SECONDS)
    running(session.identity, "postgres")
    return container


def _unhealthy(container: Container) -> str:
    container.reload()
    return "" if container.health == "healthy" else "Postgres does not answer"


def _refuse(result: Result, session: Session) -> None:
    """Raises `WsError` for a run that failed before the first container was changed."""
    if not result.ok:
        changes.show_failures(result, session.console)
        raise WsError("Postgres is as it was: no container was changed.")
