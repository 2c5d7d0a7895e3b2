"""A stack's exposure to other machines: which ports they reach, and whether Docker or the firewall blocks the rest.

Uses only settings and ``HostFacts``. The firewall's rules are in ``entrypoints/firewall.py``; here are the rules that a
person sets if the platform may not.
"""

import ipaddress
from collections.abc import Iterator

from config.cluster import Membership
from config.platform import PlatformSettings
from config.ports import HOST_RAY_PORTS, METRICS_FLAG, host_ports
from config.problems import Notice, dotted
from config.services import SERVICES
from contracts.firewall import Guarded
from preflight.host_facts import HostFacts

# From this version on, the Engine itself drops packets of neighbours to containers' addresses.
FIRST_CLOSED_ENGINE = 28
PEOPLES = ("client", "dashboard")  # GATEWAY_PORTS for people; the others are for the cluster's hosts


def guarded(settings: PlatformSettings) -> Guarded:
    """The ports of this host that only the cluster's hosts need, for the services that run here."""
    membership = settings.membership
    if membership is None:
        return Guarded()
    spans = [
        (first, last)
        for service in settings.services()
        for purpose, first, last in host_ports(service)
        if not (service == "ray-gateway" and purpose in PEOPLES)
    ]
    redis = tuple(
        settings.service(name).host_ports["port",] for name in ("redis", "redis-replica") if membership.runs(name)
    )
    spans += [(port, port) for port in redis]
    return Guarded(
        hosts=_hosts(membership), ports=tuple(_joined(spans)), forwarded=redis, scraped=tuple(_scraped(settings))
    )


def _scraped(settings: PlatformSettings) -> Iterator[int]:
    """The ports at which this host's Prometheus asks its Ray nodes, which are on the host's network."""
    enabled = settings.services()
    for service, ports in HOST_RAY_PORTS.items() if "prometheus" in enabled else ():
        if service in enabled:
            yield ports[METRICS_FLAG]


def _hosts(membership: Membership) -> tuple[str, ...]:
    """The cluster's hosts, and the host of a static head outside it."""
    addresses = [host.address for host in membership.cluster.hosts.values()]
    head = (membership.static_head or "").rpartition(":")[0]
    return tuple(sorted({*addresses, *([head] if head else [])}))


def _joined(spans: list[tuple[int, int]]) -> Iterator[str]:
    """Port ranges as text; adjacent ranges are joined."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    yield from (str(first) if first == last else f"{first}-{last}" for first, last in joined)


def docker_is_closed(facts: HostFacts | None) -> bool:
    """Whether the Engine itself keeps neighbours from containers' addresses; false if unknown."""
    major = (facts.engine_version if facts else "").partition(".")[0]
    return major.isdecimal() and int(major) >= FIRST_CLOSED_ENGINE


def is_needed(settings: PlatformSettings, facts: HostFacts | None) -> bool:
    """Whether a firewall would block anyone whom Docker lets in."""
    return settings.membership is not None or not docker_is_closed(facts)


def notices(settings: PlatformSettings, facts: HostFacts) -> Iterator[Notice]:
    """Notices about ports that may be open by accident, with the commands that close them."""
    yield from _gcs_published(settings)
    if settings.firewall.enabled or not is_needed(settings, facts):
        return
    reasons = []
    if not docker_is_closed(facts):
        reasons.append(
            f"Docker {facts.engine_version or 'before 28'} lets every machine of the same network segment reach "
            "published ports, also those on 127.0.0.1"
        )
    if settings.membership:
        reasons.append("every machine of the LAN reaches Ray's own ports, where one message ends the head")
    commands = "\n".join(f"  {command}" for command in commands_for(settings, facts))
    yield Notice(
        f"firewall.enabled is false: {'; and '.join(reasons)}. Enable it, or set the rules by hand after `up` and "
        f"after each start of this host:\n{commands}"
    )


def _gcs_published(settings: PlatformSettings) -> Iterator[Notice]:
    bind = settings.network.bind_address
    if settings.membership or ipaddress.IPv4Address(bind).is_loopback:
        return
    for name, node in settings.ray_nodes.items():
        if node.ports.gcs is not None:
            key = f"{dotted(SERVICES[name])}.ports.gcs"
            yield Notice(
                f"{key} publishes the GCS of {name} on {bind}:{node.ports.gcs}: anyone who reaches it can end the "
                "head by one message, without a token. Jobs and the Ray Client do not need this port: leave it out if "
                "you can"
            )


def commands_for(settings: PlatformSettings, facts: HostFacts | None) -> Iterator[str]:
    """Commands that set the rules by hand, with the tool that Docker itself uses."""
    allowed = guarded(settings)
    if allowed.forwarded or allowed.scraped or not docker_is_closed(facts):
        yield f"BRIDGE=br-$(docker network inspect -f '{{{{slice .Id 0 12}}}}' {settings.network.name})"
    start = 'sudo iptables -I DOCKER-USER -o "$BRIDGE" ! -i "$BRIDGE" -m conntrack --ctdir ORIGINAL'
    sources = (*allowed.hosts, *settings.firewall.allow)
    if not docker_is_closed(facts):
        yield f"{start} ! --ctstate DNAT -j DROP"
        yield f"{start} --ctorigdst 127.0.0.0/8 -j DROP"
    if allowed.ports:
        ports = ",".join(port.replace("-", ":") for port in allowed.ports)
        chain = settings.network.name[:20] + "-hosts"
        yield f"sudo iptables -N {chain}"
        yield from (f"sudo iptables -A {chain} -s {source} -j RETURN" for source in sources)
        for port in (*allowed.forwarded, *allowed.scraped):
            yield f'sudo iptables -A {chain} -i "$BRIDGE" -p tcp --dport {port} -j RETURN'
        yield f"sudo iptables -A {chain} -j DROP"
        match = f"INPUT ! -i lo -p tcp -m multiport --dports {ports} -m conntrack --ctdir ORIGINAL"
        yield f"sudo iptables -I {match} -j {chain}"
        yield f"sudo ip6tables -I {match} -j DROP"
        for port in allowed.forwarded:
            yield f"{start} -p tcp --ctorigdstport {port} -j {chain}"
