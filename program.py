"""Declares a stack of either kind: one deploys a host's part of the platform, the other only builds images."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from functools import partial
from typing import Any

import pulumi

from components import alert_routes
from components.alert_routes import AlertSecrets
from components.image_family import ImageFamily, family_args, planned_tags
from components.keeper import docker_socket, engine_hostname
from components.network import RayNetwork
from components.platform import Platform, PlatformArgs
from components.topology import topology_of
from config import matrix
from config.builds import BuildSettings
from config.cluster_file import find_membership
from config.devel_keys import load_keys
from config.keys import ENV_SECRETS, SECRET_TEXTS
from config.load import config_value, load
from config.own_dockerfile import check_dockerfiles
from config.packages import load_lock
from config.platform import KEY, PlatformSettings
from config.project import FOLDER
from config.ray_wheel import check_wheel
from config.remedies import secret_command
from config.services import RAY_NODES
from contracts.facts import BASES, Times
from contracts.ray_tls import KEY as KEY_FILE
from docker_api.api import DockerApi, DockerError
from policy import gate, surroundings
from preflight import build_host, docker_engine, host, outside, signatures
from preflight import cluster as cluster_checks
from preflight.cluster_facts import ClusterFacts
from preflight.container_users import HostUsers, shared_users
from preflight.host_facts import outside_addresses
from stack import base_age, env_secrets, owner, plain_record, ray_tls, rejoin, tls, unfinished_restore
from stack import facts as host_facts
from stack.advertised_facts import MACHINE
from stack.engine_state import known
from stack.env_secrets import EnvSecrets
from stack.identity import ASKS, GENERATES
from stack.pulumi_internals import register_stack_outputs
from stack.running_words import warning
from stack.running_work import look
from stack.sources import ANSWERS_FILE, Sources, TorchChoice, choose_sources
from stack.stack import Stack

Outputs = Mapping[str, Any]

NOT_VERIFIED = "not done: the deployment failed before it"


def declare(stack: Stack) -> Outputs:
    """Declares what the stack's config asks for, and returns the stack's outputs.

    Raises:
        SettingsError: the config or the host makes that impossible.
        SecretError: a secret in the config is unusable, or the cluster key is not on this host yet.
        BudgetError: the table of budgets cannot be read.
    """
    return declare_family(stack) if stack.config("matrix") is not None else declare_platform(stack)


def declare_platform(stack: Stack) -> Outputs:
    """One host's part of the platform."""
    membership = find_membership(stack.config, stack=stack.identity.stack, stack_file=stack.file)
    settings = load(config_value(stack.config("platform")), stack_file=stack.file, membership=membership)
    lock = load_lock(settings.images, settings.variant, stack_file=stack.file, key=KEY)
    settings = settings.with_packages(lock)
    check_wheel(settings.images, stack_file=stack.file, key=KEY)
    check_dockerfiles(settings, stack_file=stack.file, key=KEY)
    site = tls.load_site(settings, stack_file=stack.file, key=KEY)
    settings = settings.with_login_keys(load_keys(settings, stack_file=stack.file, key=KEY))
    facts = None
    if stack.preflight:
        docker_engine.refuse_other_system()
        docker_engine.refuse_remote_engine()
        docker_engine.refuse_unusable_engine()
    now = claim(stack)
    if stack.preflight:
        facts = host.HostFacts.probe(stack.identity.project, stack.identity.stack, gpus=settings.gpu.enabled)
        host.check(settings, facts, stack.file)
        signatures.check(settings, stack.file)
        for notice in (*shared_users(settings, HostUsers.probe(settings)), *host.notices(settings, facts)):
            pulumi.warn(notice.text)
        warn_of_running_work(stack)
        for notice in outside.notices(settings, facts):
            pulumi.warn(notice.text)
    if not outside.is_needed(settings, facts):
        settings = settings.without("firewall")
    for notice in env_secrets.notices(settings):
        pulumi.warn(notice.text)
    own = EnvSecrets.resolve(
        settings,
        stack.files,
        stack.config,
        stack=stack.identity.stack,
        stack_file=stack.file,
        strict=stack.preflight or not stack.dry_run,
    )
    secrets = stack.secrets(membership)
    warn_of_plain_secrets(stack)
    if facts and membership:
        cluster = ClusterFacts.probe(
            membership, machine=stack.files.generated(MACHINE), password=secrets.values["redis-password"]
        )
        for notice in cluster_checks.check(settings, facts, cluster):
            (pulumi.warn if notice.warning else pulumi.info)(notice.text)
    sources = sources_of(stack, settings.images, torch=settings.torch)
    alert_secrets = alert_secrets_of(stack, settings)
    hostname, own_addresses = engine_hostname(docker_socket()), outside_addresses()
    nodes = topology_of(settings, stack.identity).node_addresses
    ray_certificate = ray_tls.ray_certificate(
        settings, secrets, stack.identity, names=ray_tls.names_for(settings, nodes, own_addresses)
    )
    ray_key = ray_certificate.files[KEY_FILE] if ray_certificate else None
    gate.enforce(surroundings.platform(stack, settings, secrets, own, ray_key=ray_key), dry_run=stack.dry_run)
    verified = note(now, stack)
    platform = Platform(
        "platform",
        PlatformArgs(
            settings=settings,
            identity=stack.identity,
            files=stack.files,
            secrets=secrets,
            env_secrets=own,
            sources=sources,
            socket=docker_socket(),
            python=stack.python,
            hostname=hostname,
            alert_secrets=alert_secrets,
            certificate=tls.certificate_folder(
                settings, stack.files, stack.identity, site=site, hostname=hostname, own_addresses=own_addresses
            ),
            ray_certificate=ray_certificate,
            own_addresses=own_addresses,
        ),
    )
    join_again(now, stack, platform.network)
    outputs: dict[str, Any] = {
        "urls": platform.urls(),
        "sources": {"bases": sources.bases, "torch": sources.torch},
        **({"ssh": ssh, "login_keys": [key.words for key in settings.login_keys]} if (ssh := platform.ssh()) else {}),
        **(
            {"single_point": point} if membership and (point := cluster_checks.single_point(membership.cluster)) else {}
        ),
    }
    if platform.verification is None:
        return outputs
    platform.verification.result.apply(verified)
    return {**outputs, "verification": said_of(platform.verification.result, stack, now)}


def warn_of_running_work(stack: Stack) -> None:
    """Warns of running work that may end, if no command asks first: `ws` does, bare `pulumi` cannot."""
    if ASKS in stack.environment:
        return
    try:
        running = look(stack.identity)
    except DockerError:
        return  # reported by the checks that need it
    if running.not_asked or not all(work.part for work in running.works):
        pulumi.warn(warning(running, stack.identity.stack))


def alert_secrets_of(stack: Stack, settings: PlatformSettings) -> AlertSecrets:
    """Where alerts go; says so if that is nowhere. A stack without Alertmanager has no use for them."""
    if "alertmanager" not in settings.services():
        return AlertSecrets()
    alertmanager, name = settings.metrics.alertmanager, stack.identity.stack
    found = AlertSecrets.resolve(alertmanager.mail, stack.config, stack=name, stack_file=stack.file)
    for notice in alert_routes.notices(alertmanager, found, name):
        pulumi.info(notice.text)
    return found


def warn_of_plain_secrets(stack: Stack) -> None:
    """Warns of secrets in plain text, which readers of the stack file or its history would know."""
    for key in (*SECRET_TEXTS, ENV_SECRETS):
        if stack.config(key.partition(":")[2]) is not None and not pulumi.runtime.is_config_secret(key):
            command = secret_command(stack.identity.stack, f"{key}.NAME" if key == ENV_SECRETS else key)
            pulumi.warn(f"{stack.file}: {key}: is in plain text. This asks for it, and keeps it encrypted: {command}")


def declare_family(stack: Stack) -> Outputs:
    """The selected images, and nothing that runs."""
    matrix.refuse_beside(stack.config, stack_file=stack.file)
    raw = config_value(stack.config("matrix"))
    now = claim(stack)
    args = family_args(raw, stack_file=stack.file, python=stack.python, choose=partial(sources_of, stack))
    if stack.preflight:
        build_host.check(planned_tags(args), build_host.BuildHost.probe(), stack.file)
        if args.settings.push and args.settings.signing_key and ASKS not in stack.environment:
            pulumi.warn(f"{stack.file}: signing_key: only `ws matrix` signs what it pushed; this run signs nothing")
    gate.enforce(surroundings.images(stack), dry_run=stack.dry_run)
    note(now, stack)
    family, sources = ImageFamily("family", args), args.sources
    return {"images": family.tags(), "sources": {"bases": sources.bases, "pyg": sources.pyg, "nvidia": sources.nvidia}}


def claim(stack: Stack) -> owner.Situation | None:
    """Makes sure that this engine owns the stack's objects; None if that is not checked, or nothing is deployed.

    Raises:
        SettingsError: another state knows it, or a restore of it has not ended.
    """
    if GENERATES in stack.environment or (not stack.owner_counts and stack.dry_run):
        return None
    unfinished_restore.check(stack.identity, stack.environment)
    now = owner.look(stack.identity, known(), FOLDER, stack.environment)
    if stack.owner_counts:
        owner.check(now)
        if notice := owner.another_checkout(now):
            pulumi.warn(notice)
    return now


def note(now: owner.Situation | None, stack: Stack) -> Callable[[str], None]:
    """Records the stack's owner once all checks have passed, and a plain `pulumi up` in the history.

    Returns a function that takes the result of the verification.
    """
    if now is None or stack.dry_run:
        return lambda _: None
    now.own.write(now.folder)
    return plain_record.begin(stack) if now.known.engine == "pulumi" else lambda _: None


def join_again(now: owner.Situation | None, stack: Stack, network: RayNetwork) -> None:
    """Reconnects containers that were cut from the network or paused, which Pulumi does not notice."""
    if now is None or now.known.engine != "pulumi":
        return
    name, identifiers = network.network_name, now.known.identifiers
    addresses = {service: network.fixed_address(index) for index, service in enumerate(RAY_NODES)}
    if found := rejoin.cut_off(stack.identity, name, identifiers):
        pulumi.warn(f"{', '.join(map(str, found))}: `up` takes that back")

    def join(_: str) -> None:
        rejoin.rejoin(rejoin.cut_off(stack.identity, name, identifiers), name, addresses)

    if not stack.dry_run:
        network.resource.id.apply(join)  # once the network exists


def said_of(result: pulumi.Output[str], stack: Stack, now: owner.Situation | None) -> pulumi.Output[str]:
    """The verification output; never an earlier deployment's result when this one fails before the verification."""
    if stack.dry_run:
        return result
    if now and now.known.engine == "pulumi":
        # If a deployment fails, Pulumi keeps the outputs of the last one, and shows an unknown one as a number.
        register_stack_outputs({"verification": NOT_VERIFIED})

    async def text() -> str:
        return str(await result.future()) if await result.is_known() else NOT_VERIFIED

    return pulumi.Output.from_input(text())


def sources_of(stack: Stack, images: BuildSettings, *, torch: TorchChoice, devel: bool = False) -> Sources:
    """Chooses the sources of a stack's images; logs choices that were probed just now."""
    kept = stack.files.folder / ANSWERS_FILE
    sources, notes = choose_sources(images, torch=torch, devel=devel, kept=kept, dry_run=stack.dry_run)
    for note in notes:
        pulumi.info(note)
    if stack.preflight:
        look_at_bases(stack, images, sources)
    return sources


def look_at_bases(stack: Stack, images: BuildSettings, sources: Sources) -> None:
    """Warns of base images whose security updates are of long ago, and lets the health service know their age."""
    try:
        found = list(base_age.ages(DockerApi(), sources.bases, images.mirrors.debian))
    except DockerError:
        return  # said by what needs it
    for text in filter(None, (base_age.warning(one, date.today()) for one in found)):
        pulumi.warn(text)
    if not stack.dry_run:
        # Where there is none yet, this deployment makes one.
        made = {one.tag: datetime.combine(one.made, time.min).timestamp() for one in found}
        host_facts.write(stack.files.folder, BASES, Times(times=made or {"base": datetime.now().timestamp()}))
