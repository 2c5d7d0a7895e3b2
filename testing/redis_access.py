"""Access for `ws cluster` commands to the real Redis servers of a test, as on a host of a cluster."""

from config.cluster import ClusterHost, ClusterRedis, ClusterSettings, Membership
from coordination.redis_client import Address
from stack.identity import StackIdentity
from testing.redis_pair import PASSWORD, RedisServer
from ws.cluster.access import Access


def membership_of(host: str, pair: tuple[RedisServer, RedisServer] | None = None) -> Membership:
    """A host of a cluster whose Redis is on gamma, with a replica on beta and a static head."""
    hosts = {"alpha": "127.0.1.3", "beta": "127.0.1.2", "gamma": "127.0.1.1"}
    cluster = ClusterSettings.model_construct(  # unchecked: a loopback address is none of a LAN
        name="lab",
        hosts={name: ClusterHost.model_construct(address=address) for name, address in hosts.items()},
        head_address="alpha:6379",
        redis=ClusterRedis(
            host="gamma",
            replica="beta" if pair else None,
            port=pair[0].address.port if pair else 6381,
            replica_port=pair[1].address.port if pair else 6382,
        ),
    )
    return Membership(cluster=cluster, host=host, file="cluster.yaml", key="")


def access_on(host: str, pair: tuple[RedisServer, RedisServer] | None = None) -> Access:
    """What `ws` knows on that host."""
    membership = membership_of(host, pair)
    return Access(
        identity=StackIdentity(project="cslr", stack=host),
        servers=tuple(Address.parse(text, "Redis") for text in membership.redis_addresses),
        dashboard=Address("127.0.0.1", 1),
        membership=membership,
        redis_password=PASSWORD,
        ray_token="",
    )
