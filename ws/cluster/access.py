"""How `ws` reaches a running cluster: Redis at its published address, and the dashboard, with the stack's secrets."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from config.addresses import connectable
from config.cluster import Membership
from config.platform import KEY, PlatformSettings
from config.ports import RAY_DASHBOARD
from coordination.lease import Lease
from coordination.membership import ClusterState, read_state
from coordination.redis_client import Address, RedisLink
from stack.identity import StackIdentity
from stack.running_work import deployed
from ws.cluster.ray_api import RayApi
from ws.containers import containers
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Access to the cluster of one stack."""

    identity: StackIdentity
    servers: tuple[Address, ...]  # of Redis, the configured primary first
    dashboard: Address
    membership: Membership | None  # None: a single host
    redis_password: str = field(repr=False)
    ray_token: str = field(repr=False)

    @property
    def stack(self) -> str:
        """The name of the stack."""
        return self.identity.stack

    @property
    def namespace(self) -> str:
        """The prefix of this cluster's keys in Redis."""
        return self.membership.namespace if self.membership else self.identity.prefix

    @property
    def ray(self) -> RayApi:
        """The dashboard of the head."""
        return RayApi(f"http://{self.dashboard}", self.ray_token)

    @cached_property
    def lease(self) -> Lease:
        """The lease, in the Redis that is the primary."""
        return Lease(RedisLink(self.servers, self.redis_password), self.namespace)

    def server(self, address: Address) -> RedisLink:
        """A connection to one Redis server, whatever its role."""
        return RedisLink((address,), self.redis_password)

    def state(self) -> ClusterState:
        """The state of the cluster in Redis. Raises `WsError` if Redis does not answer."""
        with self.answers():
            return read_state(self.lease.link, self.namespace)

    def why_no_head(self, state: ClusterState) -> str:
        """Why there is no head, as a clause; empty when there is one."""
        return state.why_no_head(self.membership.candidates if self.membership else ())

    @contextlib.contextmanager
    def answers(self) -> Iterator[None]:
        """Turns errors of Redis into `WsError`."""
        try:
            yield
        except OSError as error:
            addresses = " or ".join(str(address) for address in self.servers)
            remedy = f"Look at it with: ws ps --stack {self.stack}; start it with: ws up --stack {self.stack}"
            if self.membership:
                hosts = " and ".join(self.membership.hosts_of("redis") + self.membership.hosts_of("redis-replica"))
                remedy = f"It runs on {hosts}. See: ws redis status --stack {self.stack}"
            raise WsError(f"Redis at {addresses} does not answer: {str(error).rstrip('.')}.\n  {remedy}") from error


def access_to(stack: str) -> Access:
    """Access to the cluster of the stack of this name. Raises as `access`."""
    return access(open_stack(stack))


def access(configured: StackSettings) -> Access:
    """Access to a stack's cluster. Raises `WsError` for a stack without one."""
    whose, stack = configured.identity, configured.identity.stack
    if configured.matrix is not None:
        raise WsError(f"stack {stack} only builds images, so it has no cluster.")
    settings = configured.platform
    membership = settings.membership
    if not membership and not settings.ray_nodes:
        raise WsError(
            f"stack {stack} runs no Ray node on this host, so it has no cluster.\n"
            f"  Enable one: {KEY}.ray.cpu.enabled in Pulumi.{stack}.yaml"
        )
    if not membership:
        if not settings.redis.enabled:
            raise WsError(f"stack {stack} has no Redis: {settings.ray.head_address} names a head elsewhere. Ask there.")
        _refuse_undeployed(whose)
    secrets = configured.previewed.secrets(
        membership
    ).values  # Redis refuses a newly generated password, with a clear error
    return Access(
        identity=whose,
        servers=tuple(Address.parse(text, "Redis") for text in membership.redis_addresses)
        if membership
        else _own(settings),
        dashboard=Address(LOOPBACK, RAY_DASHBOARD) if membership else _dashboard(whose, settings),
        membership=membership,
        redis_password=secrets["redis-password"],
        ray_token=secrets["ray-token"],
    )


def _refuse_undeployed(whose: StackIdentity) -> None:
    """Refuses a stack that is not running: another stack on the same ports would answer in its place."""
    redis = next((one for one in containers(whose) if one.service == "redis"), None)
    if redis and redis.state in ("running", "paused", "restarting"):
        return
    what = f"its Redis is {redis.state}" if redis else "it has no Redis here"
    raise WsError(
        f"stack {whose.stack} is not deployed, or not completely: {what}.\n  Start it with: ws up --stack {whose.stack}"
    )


def _own(settings: PlatformSettings) -> tuple[Address, ...]:
    return (Address(connectable(settings.bind_address("redis")), settings.redis.port),)


def _dashboard(whose: StackIdentity, settings: PlatformSettings) -> Address:
    """Where this host reaches it: with TLS before it, at the address of a node's container."""
    nodes = settings.ray_nodes
    reached = (one.reached(RAY_DASHBOARD) for one in deployed(whose) if one.running and one.service in nodes)
    published = (f"{connectable(settings.bind_address(name))}:{nodes[name].ports.dashboard}" for name in nodes)
    return Address.parse(next(chain(reached, published)), "Ray")
