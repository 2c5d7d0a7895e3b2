"""The cluster test as a Compose file of its own: the client checks when it starts, and its exit code is the result."""

from config.platform import PlatformSettings
from contracts.document import SETTINGS_VARIABLE, dump
from docker_api.one_off import CPUS, PROCESSES
from embedded_engine.changes import CONTAINER
from stack.identity import StackIdentity
from verification.runner import TEMPORARY_FILES
from verification.spec import VerificationSpec
from ws.cluster_test.network import (
    CHECK,
    CLIENT,
    ENVIRONMENT,
    LABEL,
    MEMORY,
    TestContainer,
    containers_of,
    programs_of,
    secrets_of,
    tokens,
    trusted,
)
from ws.cluster_test.plan import Deployed, Published, plan, worker_reason
from ws.generate import text
from ws.generate.compose import ComposeFile, Json, read_only
from ws.generate.program import Declared

SHARED: Json = {
    "init": True,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pull_policy": "never",
    "mem_limit": f"{MEMORY // 2**20}m",
    "memswap_limit": f"{MEMORY // 2**20}m",
    "cpus": CPUS,
    "pids_limit": PROCESSES,
    "tmpfs": [f"/tmp:{TEMPORARY_FILES}"],  # noqa: S108
}
ABOUT = {
    CLIENT: "Checks the stack from here, by the ports that it publishes, and ends: 0 all passed, 1 a check failed.",
    "test-ray-worker": "Says why it does not join the cluster, and waits.",
}


def text_of(
    found: Declared, spec: VerificationSpec, settings: PlatformSettings, path: str, own_addresses: tuple[str, ...]
) -> str:
    """The text of the file. `path`: its own, for its header."""
    command = f"docker compose -f {path}"
    header = (
        f"The cluster test of stack {found.stack} for Docker Compose: the stack as another machine sees it.",
        "Written by `ws generate`; `ws test --up --run --down` does the same, and also checks addresses that Docker",
        "gives away only when the stack runs. Start the stack first.",
        "",
        f"  {command} up --exit-code-from {CLIENT}",
        f"  {command} down",
    )
    return text.render(
        compose_file(found, spec, settings, own_addresses),
        header=header,
        about=ABOUT,
        about_shared="Of both containers: hardened, and with nothing that outlives them.",
    )


def compose_file(
    found: Declared, spec: VerificationSpec, settings: PlatformSettings, own_addresses: tuple[str, ...]
) -> ComposeFile:
    """Both containers in a network of their own."""
    identity = StackIdentity(project=found.project, stack=found.stack)
    checks = dump(plan(settings, declared_ports(found, spec, own_addresses)))
    secrets = {target.rpartition("/")[2]: source for target, source in secrets_of(spec).items()}
    services: dict[str, Json] = {}
    for one in containers_of(worker_reason(settings)):
        services[one.service] = {
            "image": found.tags.get(spec.client.image, spec.client.image),
            "container_name": identity.object_name(one.service),
            "hostname": one.service,
            "entrypoint": list(_command(one)[:1]),
            "command": list(_command(one)[1:]),
            "user": spec.client.user,
            "environment": {**ENVIRONMENT, **({SETTINGS_VARIABLE: checks} if one.service == CLIENT else {})},
            "labels": {LABEL: identity.prefix},
            **(_given(identity, spec) if one.service == CLIENT else {}),
            "healthcheck": {"disable": True},
        }
    network = {
        "name": identity.object_name("cluster-test"),
        "ipam": {"config": [{"subnet": settings.cluster_test.subnet}]},
        "labels": {LABEL: identity.prefix},
    }
    return ComposeFile(
        name=identity.object_name("cluster-test"),
        shared={
            **SHARED,
            **({} if spec.client.image in found.local_images | found.tags.keys() else {"pull_policy": "missing"}),
        },
        services=services,
        networks={"default": network},
        secrets={name: {"file": source} for name, source in sorted(secrets.items())},
    )


def _given(identity: StackIdentity, spec: VerificationSpec) -> Json:
    """The client's programs and tokens."""
    secrets = sorted(target.rpartition("/")[2] for target in secrets_of(spec))
    volumes = [read_only(source, target) for target, source in programs_of(identity, spec).items()]
    return {**({"secrets": secrets} if secrets else {}), "volumes": volumes}


def declared_ports(found: Declared, spec: VerificationSpec, own_addresses: tuple[str, ...]) -> Deployed:
    """What the program publishes, and the addresses that it fixes."""
    containers = [one.inputs for one in found.of_type(CONTAINER)]
    published = [
        Published(service=one["hostname"], bound=p["ip"], port=int(p["external"]), internal=int(p["internal"]))
        for one in containers
        for p in one.get("ports", [])
    ]
    fixed = {
        str(one["hostname"]): str(network["ipv4Address"])
        for one in containers
        for network in one.get("networksAdvanced") or []
        if network.get("ipv4Address")
    }
    return Deployed(
        published=tuple(sorted(published, key=lambda one: (one.service, one.port))),
        inside=fixed,
        own_addresses=own_addresses,
        trusted=trusted(StackIdentity(project=found.project, stack=found.stack)),
        **tokens(spec),
    )


def _command(one: TestContainer) -> tuple[str, ...]:
    return CHECK if one.service == CLIENT else one.command
