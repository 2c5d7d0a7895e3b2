"""Rights of the platform's Redis users, on a real server, and the program that makes users of heads."""

import hashlib
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from coordination.lease import TTL_SECONDS, Credentials, Grant, Lease, Member, is_fenced_by
from coordination.membership import drain_key, read_membership, read_state
from coordination.redis_client import GENERATION, Address, RedisLink, RedisRefusedError
from coordination.redis_users import AGENT, READER, configuration, password
from testing.redis_pair import until
from testing.redis_users import PROGRAM, makers_of_users
from testing.servers import free_port

NAMESPACE, OTHER = "cslr-lab", "cslr-other"
PASSWORD = "correct-horse-battery"
KEYS, GCS = f"cslr:{NAMESPACE}:", Address("10.0.0.1", 6385)
# What only the all-powerful user may do.
ALL_POWERFUL = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("CONFIG", "GET", "requirepass"),
    ("CONFIG", "SET", "requirepass", ""),
    ("ACL", "LIST"),
    ("ACL", "SETUSER", "intruder", "on", "nopass", "~*", "+@all"),
    ("ACL", "SETUSER", AGENT, "~*", "+@all"),
    ("ACL", "DELUSER", "ray-x"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "PAUSE", "1000"),
    ("SHUTDOWN", "NOSAVE"),
    ("DEBUG", "SLEEP", "0"),
    ("MONITOR",),
    ("REPLICAOF", "NO", "ONE"),
    ("MODULE", "LIST"),
    ("FUNCTION", "LIST"),
    ("DEL", f"cslr:{OTHER}:lease"),
    ("HSET", f"cslr:{OTHER}:lease", "host", "intruder"),
    ("HGETALL", f"cslr:{OTHER}:lease"),
    ("SET", "cslr:redis:generation", "99"),
    ("HGETALL", f"RAY{NAMESPACE}-0@KV"),
    ("HSET", f"RAY{NAMESPACE}-0@KV", "key", "value"),
    ("PUBLISH", f"cslr:{OTHER}:events", "x"),
    ("SUBSCRIBE", f"cslr:{OTHER}:events"),
]
OF_THE_AGENT = [
    ("SET", f"{KEYS}epoch", "99"),
    ("HSET", f"{KEYS}lease", "host", "intruder"),
    ("DEL", f"{KEYS}lease"),
    ("LPUSH", f"{KEYS}asks", "{}"),
    ("PUBLISH", f"{KEYS}events", "x"),
    ("EVAL", "while true do end", "0"),
    ("SADD", f"{KEYS}maintenance", "alpha"),
]


@pytest.fixture(scope="module")
def address(redis_server, tmp_path_factory) -> Iterator[Address]:
    folder, address = tmp_path_factory.mktemp("redis"), Address("127.0.0.1", free_port())
    lines = f'port {address.port}\nbind 127.0.0.1\nrequirepass "{PASSWORD}"\nsave ""\n'
    (folder / "redis.conf").write_text(lines + configuration(PASSWORD, NAMESPACE))
    server = subprocess.Popen([redis_server, folder / "redis.conf"], cwd=folder, stdout=subprocess.DEVNULL)
    until(address.answers)
    with makers_of_users(address, PASSWORD, NAMESPACE):
        yield address
    server.terminate()
    server.wait()


@pytest.fixture
def admin(address) -> RedisLink:
    link = RedisLink((address,), PASSWORD)
    link.command("FLUSHALL")
    return link


def link_as(address: Address, user: str) -> RedisLink:
    return RedisLink((address,), password(PASSWORD, user), username=user)


@pytest.fixture
def agent(address, admin) -> Lease:
    lease = Lease(link_as(address, AGENT), NAMESPACE)
    while uptime(admin) < TTL_SECONDS + 1:
        time.sleep(0.2)
    return lease


def uptime(link: RedisLink) -> int:
    return int(str(link.command("INFO", "server")).partition("uptime_in_seconds:")[2].split()[0])


def granted(lease: Lease, host: str = "alpha") -> Grant:
    grant = lease.acquire(host, "i", takeover=True)
    assert isinstance(grant, Grant), grant
    return grant


class TestRights:
    @pytest.mark.parametrize("user", [READER, AGENT])
    @pytest.mark.parametrize("command", ALL_POWERFUL, ids=" ".join)
    def test_nobody_else_does_what_the_all_powerful_user_does(self, address, admin, user, command):
        with pytest.raises(RedisRefusedError, match=r"NOPERM|ERR"):
            link_as(address, user).command(*command)

    @pytest.mark.parametrize("command", OF_THE_AGENT, ids=" ".join)
    def test_a_worker_writes_nothing_and_runs_no_script(self, address, admin, command):
        with pytest.raises(RedisRefusedError, match="NOPERM"):
            link_as(address, READER).command(*command)

    def test_a_script_of_an_agent_has_no_more_rights(self, address, admin):
        with pytest.raises(RedisRefusedError):
            link_as(address, AGENT).command("EVAL", "return redis.call('DEL', KEYS[1])", 1, f"cslr:{OTHER}:lease")

    def test_the_passwords_differ_and_are_not_the_secret(self):
        assert len({password(PASSWORD, READER), password(PASSWORD, AGENT), PASSWORD}) == 3
        assert password(PASSWORD, AGENT) not in configuration(PASSWORD, NAMESPACE)


class TestWork:
    """All that agents and workers do is within their rights."""

    def test_an_agent_leads_from_the_first_to_the_last_call(self, agent, address):
        agent.report(Member("alpha", "10.0.0.1", True, 0, 0))
        grant = granted(agent)
        credentials = agent.create_user(grant)
        assert agent.renew(grant, revive=True).held
        agent.fence(grant, keep=credentials.username)
        agent.persist(grant, 0.1)
        assert agent.announce(grant, GCS, GCS, GCS, {"ray": "2.60.0"})
        assert agent.has_user(credentials)
        view = agent.look()
        assert view
        assert view.ready
        assert agent.retract(grant)
        assert agent.release(grant, "failed", 5.0)

    def test_a_worker_reads_all_that_it_asks_for(self, agent, admin, address):
        agent.report(Member("alpha", "10.0.0.1", True, 0, 0))
        grant = granted(agent)
        agent.announce(grant, GCS, GCS, GCS, {"ray": "2.60.0"})
        Lease(admin, NAMESPACE).set_maintenance("beta-ray-cpu", True)
        admin.command("SET", drain_key(NAMESPACE, "beta-ray-cpu"), 1, "PX", 60_000)
        reader = link_as(address, READER)
        membership = read_membership(reader, NAMESPACE, "beta-ray-cpu")
        assert (membership.incarnation, membership.out, membership.draining) == (grant.incarnation, True, True)
        state = read_state(reader, NAMESPACE)
        assert (state.epoch, state.draining, state.members[0].host) == (grant.epoch, ("beta-ray-cpu",), "alpha")
        lease = Lease(reader, NAMESPACE)
        views = [found for found in (lease.look(), agent.look()) if found]
        first, second = [replace(view, remaining=0) for view in views]  # time passes between them
        assert first == second
        assert lease.versions() == {"ray": "2.60.0", "host": "alpha"}
        assert "used_memory" in str(reader.command("INFO", "memory"))

    @pytest.mark.parametrize("user", [READER, AGENT])
    def test_both_find_the_primary_of_a_pair(self, address, admin, user):
        admin.command("SET", GENERATION, 3)
        servers = (Address("127.0.0.1", 1), address)
        link = RedisLink(servers, password(PASSWORD, user), username=user)
        assert link.command("PING") == "PONG"
        assert link.another(1.0).address == servers[0]
        assert link.address == address

    def test_both_hear_of_changes(self, agent, address):
        for user in (READER, AGENT):
            heard = link_as(address, user).subscribe(agent.channel, idle=0.2)
            next(heard)
            granted(agent)
            assert any(next(heard) for _ in range(20))


class TestRequests:
    """A request is executed only for the holder of the lease."""

    def test_no_user_is_made_for_who_lost_the_lease(self, agent, admin):
        old = granted(agent)
        granted(agent, "alpha")
        with pytest.raises(OSError, match="not held"):
            agent.create_user(old)
        assert not heads(admin, old)

    @pytest.mark.parametrize("change", [{"epoch": 99}, {"host": "beta"}, {"instance": "j"}, {"incarnation": "f" * 16}])
    def test_nor_for_a_grant_that_was_never_given(self, agent, change):
        grant = granted(agent)
        with pytest.raises(OSError, match="not held"):
            agent.create_user(Grant(**{**vars(grant), **change}))

    def test_a_fence_of_an_older_grant_spares_the_later_head(self, agent):
        old = granted(agent)
        new = granted(agent)
        credentials = agent.create_user(new)
        agent.fence(old)
        assert agent.has_user(credentials)

    @pytest.mark.parametrize("change", [{"epoch": 99}, {"incarnation": "f" * 16}])
    def test_a_fence_of_a_grant_that_was_never_given_deletes_nobody(self, agent, change):
        grant = granted(agent)
        credentials = agent.create_user(grant)
        with pytest.raises(OSError, match="no such grant"):
            agent.fence(Grant(**{**vars(grant), **change}))
        assert agent.has_user(credentials)

    def test_a_fence_after_the_data_was_lost_ends_heads_of_the_old_one(self, agent, admin):
        credentials = agent.create_user(granted(agent))
        admin.command("FLUSHALL")
        agent.fence(granted(agent))
        assert not agent.has_user(credentials)

    @pytest.mark.parametrize(
        "request_",
        [
            "no JSON",
            "[]",
            '"text"',
            "{}",
            '{"wish":"make"}',
            '{"wish":"shutdown","epoch":"1","incarnation":"a","answer":"b"}',
            json.dumps({"wish": "make", "suffix": 'x" +@all ~* "', "digest": "0" * 64}),
            json.dumps({"wish": "make", "suffix": "0" * 16, "digest": "0" * 63 + "\n"}),
            json.dumps({"wish": "make", "suffix": "0" * 16, "digest": "nopass"}),
            json.dumps({"wish": "fence", "keep": "x\nACL SETUSER intruder on nopass"}),
            json.dumps({"wish": "fence", "answer": "x 1\nFLUSHALL"}),
            json.dumps({"wish": "make", "host": {"a": 1}, "suffix": ["x"], "digest": None}),
        ],
    )
    def test_what_is_no_request_does_nothing_and_the_next_one_is_served(self, agent, admin, request_):
        grant = granted(agent)
        before = admin.command("ACL", "USERS")
        if request_.startswith('{"wish": '):
            known = {"epoch": str(grant.epoch), "incarnation": grant.incarnation, "host": "alpha", "instance": "i"}
            now = int(time.time() * 1000)
            request_ = json.dumps({**known, "answer": secrets.token_hex(8), "time": now, **json.loads(request_)})
        agent.link.command("LPUSH", f"{KEYS}asks", request_)
        credentials = agent.create_user(grant)
        assert set(admin.command("ACL", "USERS") or ()) - set(before or ()) == {credentials.username}
        assert admin.command("EXISTS", f"{KEYS}lease") == 1

    def test_lines_within_a_request_are_no_commands(self, agent, admin):
        grant = granted(agent)
        agent.link.command("LPUSH", f"{KEYS}asks", "{}\nACL SETUSER intruder on nopass ~* +@all\nFLUSHALL")
        credentials = agent.create_user(grant)
        assert agent.has_user(credentials)
        assert "intruder" not in (admin.command("ACL", "USERS") or ())

    def test_a_request_that_was_given_up_is_not_done(self, agent, admin, address):
        grant = granted(agent)
        digest = hashlib.sha256(b"late").hexdigest()
        late = {
            "wish": "make",
            "host": "alpha",
            "instance": "i",
            "suffix": "0" * 16,
            "digest": digest,
            "epoch": str(grant.epoch),
            "incarnation": grant.incarnation,
            "answer": "ab",
            "time": int(time.time() * 1000) - 10_000,
        }
        agent.link.command("LPUSH", f"{KEYS}asks", json.dumps(late))
        agent.create_user(grant)
        user = f"ray-{NAMESPACE}-{grant.epoch}-{grant.incarnation}{'0' * 16}"
        assert not agent.has_user(Credentials(user, "late"))

    def test_it_goes_on_over_a_restart_of_what_makes_users(self, agent, address):
        grant = granted(agent)
        with makers_of_users(address, PASSWORD, NAMESPACE):  # a second one, which may take a request and be killed
            agent.create_user(grant)
        for _ in range(3):
            try:
                assert agent.create_user(grant)
                break
            except ConnectionError:
                continue
        else:
            pytest.fail("no user was made")

    def test_without_it_the_reason_is_said(self, address, admin):
        lease = Lease(RedisLink((address,), PASSWORD), OTHER)
        grant = granted(lease)
        with pytest.raises(ConnectionError, match="does not answer a request"):
            lease.create_user(grant)

    def test_the_programs_are_for_any_shell(self):
        for name in ("users.sh", "server.sh"):
            subprocess.run(["sh", "-n", PROGRAM.with_name(name)], check=True)


def heads(admin: RedisLink, grant: Grant) -> list[str]:
    users = admin.command("ACL", "USERS")
    start = f"ray-{NAMESPACE}-{grant.epoch}-{grant.incarnation}"
    return [str(user) for user in users if str(user).startswith(start)] if isinstance(users, list) else []


class TestFencedUsers:
    """The rules in Lua fence whom the model of the election (tests/cluster) takes for fenced."""

    USERS = tuple(
        f"ray-{namespace}-{epoch}-{incarnation * 16}{'0' * 16}"
        for namespace in (NAMESPACE, OTHER, f"{NAMESPACE}-2")
        for epoch in (1, 4, 5, 6, 10)
        for incarnation in "ab"
    )
    STRANGE = ("default", AGENT, READER, f"ray-{NAMESPACE}-4", f"ray-{NAMESPACE}-x-{'a' * 32}", f"ray-{NAMESPACE}")

    @pytest.mark.parametrize("epoch", [1, 5, 7])
    def test_are_the_same(self, admin, epoch):
        admin.command("SET", f"{KEYS}epoch", 9)
        admin.command("SET", f"{KEYS}incarnation", "a" * 16)
        keep = f"ray-{NAMESPACE}-{epoch}-{'a' * 16}{'1' * 16}"
        request = {"wish": "fence", "keep": keep, "epoch": str(epoch), "incarnation": "a" * 16, "answer": "ab"}
        text = json.dumps({**request, "time": int(time.time() * 1000)})
        users = (*self.USERS, *self.STRANGE, keep)
        lua = PROGRAM.with_suffix(".lua").read_text()
        lines = admin.command("EVAL", lua, 0, NAMESPACE, text, 1, "+ping", *users)
        assert isinstance(lines, list)
        grant = Grant("alpha", "i", epoch, "a" * 16)
        fenced = {user for user in users if user != keep and is_fenced_by(grant, NAMESPACE, user)}
        assert set(str(lines[1]).removeprefix("ACL DELUSER ").split()) == fenced
        assert lines[0] == "MULTI"
        assert lines[-1] == "EXEC"
