"""Makes the bundle of a stack, and says what its deployer should know of it."""

import ipaddress
from collections.abc import Iterator, Sequence

from config.addresses import connectable
from config.devel import host_entry
from config.notation import EVERYWHERE
from images.packages_lock import held
from stack import ray_tls
from stack.secrets import RAY_AUTHORITY, SECRETS, SecretFiles
from stack.state import stack_folder
from stack.tls import authority_file
from ws.client import queue_program
from ws.client.bundle import NOTEBOOK_TOKEN, RAY_TOKEN, Bundle
from ws.client.endpoints import CLIENT, DASHBOARD, MLFLOW, QUEUE, Way, endpoints, has_own_notebooks, refused_names
from ws.errors import WsError
from ws.stack_settings import StackSettings
from ws.users.people import token_of


def bundle_of(configured: StackSettings, way: Way, user: str | None) -> Bundle:
    """The bundle of a stack. Raises `WsError` where there is nothing to reach, or no token yet."""
    settings, stack = configured.platform, configured.identity.stack
    found = endpoints(settings, way)
    names = {one.name for one in found}
    if not names & {DASHBOARD, MLFLOW}:
        raise WsError(f"stack {stack} has neither Ray nor MLflow on this host: a bundle would be empty")
    if not _has(configured, RAY_TOKEN):
        raise WsError(f"stack {stack} has no token yet: its first deployment makes that. Run: ws up --stack {stack}")
    files = configured.previewed.secrets(settings.membership)
    secrets = files.values
    versions, own_ray = held(settings.variant), settings.images.ray
    packages = {"ray": own_ray.version if own_ray else versions["ray"]} if DASHBOARD in names else {}
    packages |= {"mlflow-skinny": versions["mlflow-skinny"]} if MLFLOW in names else {}
    return Bundle(
        stack=stack,
        python=settings.variant.python,
        packages=packages,
        tools=queue_program.tools() if QUEUE in names else {},
        endpoints=found,
        host=way.host,
        user=user,
        login=login(configured, way, user),
        mlflow_logins=MLFLOW in names and settings.mlflow.logins,
        authority=authority(configured),
        ray_certificate=ray_certificate(configured, files) if CLIENT in names else {},
        ray_token=secrets[RAY_TOKEN],
        notebook_token=token_of(configured.identity, way.person)
        if way.person and has_own_notebooks(settings, way.person)
        else secrets[NOTEBOOK_TOKEN],
    )


def authority(configured: StackSettings) -> str:
    """The certificate of the stack's own authority; empty where its web services have none of it."""
    tls, file = configured.platform.tls, authority_file(stack_folder(configured.identity))
    return file.read_text() if tls.enabled and tls.source == "generated" and file.is_file() else ""


def ray_certificate(configured: StackSettings, secrets: SecretFiles) -> dict[str, str]:
    """The files of a new certificate for Ray Client; none without Ray's own TLS. Raises `WsError`."""
    if not configured.platform.ray.tls:
        return {}
    stack = configured.identity.stack
    if not _has(configured, RAY_AUTHORITY):
        raise WsError(
            f"stack {stack} has no authority for Ray's certificates yet (ray.tls). Run: ws up --stack {stack}"
        )
    return ray_tls.client_certificate(secrets, configured.identity).files


def login(configured: StackSettings, way: Way, user: str | None) -> str:
    """The lines for `~/.ssh/config` that lead to the devel container; empty without one."""
    settings = configured.platform
    if "devel" not in settings.services():
        return ""
    name, bound = configured.identity.object_name("devel"), settings.bind_address("devel")
    if way.tunnel or ipaddress.ip_address(bound).is_loopback:
        host, jump = connectable(bound), f"{user}@{way.host}" if user else way.host
    else:
        host, jump = way.host if bound in EVERYWHERE else bound, None
    return host_entry(name, host=host, port=settings.devel.port, jump=jump)


def notes(configured: StackSettings, way: Way, own_addresses: Sequence[str]) -> Iterator[str]:
    """What whoever hands it on should know."""
    settings, stack = configured.platform, configured.identity.stack
    yield "It holds the stack's tokens: whoever has it can run programs on the cluster."
    if refused_names(settings, way, own_addresses):
        allow = f"ws set network.names '[{way.host}]' -s {stack}, then ws up"
        yield f"MLflow refuses the name {way.host}. To allow it: {allow}"
    known = ray_tls.names_for(settings, (), own_addresses)
    client = next((one for one in endpoints(settings, way) if one.name == CLIENT), None)
    if settings.ray.tls and client and client.host not in known:
        allow = f"ws set network.names '[{client.host}]' -s {stack}, then ws up"
        yield f"Ray's certificate is not for {client.host}, so that Ray Client refuses it. To allow it: {allow}"
    if settings.images.ray:
        yield f"The stack has its own build of Ray, {settings.images.ray.wheel}: give the person that wheel as well."
    if settings.mlflow.logins and any(one.name == MLFLOW for one in endpoints(settings, way)):
        yield f"It holds no login for MLflow. Give the person an account: ws user add NAME -s {stack}"
    people = settings.marimo.users if settings.marimo.enabled else ()
    if people and way.person not in people:
        who = f"{way.person} has none" if way.person else "name whose to include: ws client --notebooks NAME"
        yield f"It includes no notebooks, since {', '.join(people)} have their own: {who}."
    pulled = [name for name, node in settings.ray_nodes.items() if node.image.source == "pull"]
    if pulled:
        yield f"The image of {' and '.join(pulled)} is pulled: the bundle's `check` says whether its Ray fits."


def _has(configured: StackSettings, secret: str) -> bool:
    """Whether there is one already: a preview would invent it."""
    generated = stack_folder(configured.identity) / "generated" / secret
    return configured.text(SECRETS[secret]) is not None or generated.is_file()
