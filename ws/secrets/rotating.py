"""Implements `ws secrets rotate`: other values, and exactly the containers that use them replaced.

The values are written before the first container is replaced, each at once, in the place where it was. So `ws up`, or
the same command again, completes what was interrupted: containers read a value when they start, and Postgres
sets its own at each start.
"""

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from components.alert_routes import AlertSecrets
from config.keys import ALERT_SECRETS, WEBHOOKS
from docker_api.api import DockerError
from embedded_engine.changes import Result
from stack import running_work
from stack.history import History, Operation
from stack.running_work import Deployed
from stack.secrets import SECRETS, is_usable, minimum_length
from stack.state import stack_folder, write_atomically
from ws import changes
from ws.config.values import set_secret
from ws.consent import Consent
from ws.cost import cost
from ws.deploy import Session
from ws.engine_names import EngineOption
from ws.engines import Choice
from ws.errors import WsError
from ws.history.recording import recorded
from ws.secrets import planning
from ws.secrets.catalogue import Secret, secrets_of
from ws.secrets.listing import Listed, Origin, listed
from ws.stack_settings import StackSettings
from ws.terminal import confirm

FORMER = (
    9  # values that are kept: only those since the service's last start, or of a backup that comes back, are needed
)
BYTES = 32  # of a generated value, as in stack/state.py


def found(configured: StackSettings, services: Sequence[Deployed]) -> list[Listed]:
    """All secrets of a stack."""
    return [listed(one, configured, services) for one in secrets_of(configured)]


def deployed(configured: StackSettings) -> tuple[Deployed, ...]:
    """The containers of a stack. Raises `WsError` where Docker does not answer."""
    try:
        return running_work.deployed(configured.identity)
    except DockerError as error:
        raise WsError(f"Docker cannot list the containers: {error}") from error


def choose(configured: StackSettings, names: Sequence[str], *, everything: bool) -> list[Secret]:
    """The secrets to rotate. Raises `WsError` for one that cannot be rotated on this host alone."""
    stack = configured.identity.stack
    chosen = planning.chosen(secrets_of(configured), names, stack, everything=everything)
    if everything and configured.membership:
        chosen = [one for one in chosen if not one.shared]
    planning.refuse_alone(chosen, configured.membership, stack, configured.identity.project)
    return chosen


def check(secret: Secret, value: str, configured: StackSettings) -> None:
    """Passes if the services can use a given value. Raises `WsError` and `SettingsError`."""
    if (secret.generated or secret.name in SECRETS) and not is_usable(value, secret.name):
        raise WsError(
            f"{secret.name}: not usable as a secret: it must have at least {minimum_length(secret.name)} printable "
            "ASCII characters and no space. Nothing was changed."
        )
    if secret.key in (*WEBHOOKS, *ALERT_SECRETS):
        AlertSecrets.resolve(
            None, {secret.name: value}.get, stack=configured.identity.stack, stack_file=configured.file.name
        )


def rotate(
    session: Session, chosen: Sequence[Secret], value: str | None, consent: Consent, *, yes: bool
) -> tuple[Session, Result] | None:
    """Gives secrets other values, and replaces what uses them. Returns None where nothing is deployed.

    Raises:
        WsError: nothing was changed; or the deployment failed, which `ws up` then completes.
        DeclinedError: the user declined; nothing was changed.
    """
    configured = session.stack
    services = deployed(configured)
    rotated = [listed(one, configured, services) for one in chosen]
    choice = _choice(session, consent, services) if services else None
    for line in planning.lines(rotated, given=value is not None):
        session.console.print(Text(line, style="yellow"), soft_wrap=True)
    stops = planning.stops_of(rotated)
    if stops:
        consent.obtain(lambda: cost(stops, running_work.look(session.identity)))
    confirm(
        f"The former {'value stops' if len(rotated) == 1 else 'values stop'} working.",
        yes=yes,
        confirmed=consent.command.with_option("--yes"),
    )
    _write(rotated, value, configured)
    if choice is None or not stops:
        return None
    now = session.reopened()
    with recorded(now, Operation.ROTATION, choice.name) as recording:
        recording.result = now.deploy(choice, consent)
        now.report(recording.result)
    _forget_former(session, services)
    return now, recording.result


def _choice(session: Session, consent: Consent, services: Sequence[Deployed]) -> Choice:
    """The engine, once nothing but secrets waits to be deployed. Raises `WsError`."""
    choice = session.choose(EngineOption.AUTO)
    session.clear_away(session.leftovers(choice), consent)
    planned = session.run(choice, lambda engine: engine.preview())
    if planned.failed:
        changes.show_failures(planned, session.console)
        raise WsError("The preview failed. Nothing was changed.")
    last = next((one.images for one in reversed(History(session.identity).records()) if one.deployed), {})
    left = planning.refuse_pending(planned.changes, services, last, session.identity.stack)
    if left:
        session.say(f"An earlier rotation was not completed, and is now: {', '.join(left)}", "yellow")
    return choice


def _write(rotated: Sequence[Listed], value: str | None, configured: StackSettings) -> None:
    """Stack file first: it may refuse."""
    values: Mapping[str, str] = {one.secret.name: value or secrets.token_urlsafe(BYTES) for one in rotated}
    files = {one.secret.name: one.file for one in rotated if one.origin is not Origin.CLUSTER}
    for one in rotated:
        if not files.get(one.secret.name):
            set_secret(configured.identity.stack, one.secret.key, values[one.secret.name])
    keeping = {one.secret.name for one in rotated if one.secret.keeps_former}
    for name, file in files.items():
        if file:
            lines = [values[name], *(former(file) if name in keeping else ())]
            write_atomically(file, "\n".join(lines).encode(), 0o600)


def former(file: Path) -> Sequence[str]:
    """The values that a file keeps for its service when another becomes the first."""
    return file.read_text().split()[:FORMER] if file.is_file() else ()


def _forget_former(session: Session, before: Sequence[Deployed]) -> None:
    """Removes the files with former values, which no container has any more."""
    folder = stack_folder(session.identity) / "secrets"
    former = {source for one in before for source in one.mounts.values()}
    for source in former - {source for one in deployed(session.stack) for source in one.mounts.values()}:
        if Path(source).is_relative_to(folder):
            Path(source).unlink(missing_ok=True)
