"""The lease and its fence, against a real Redis."""

import time

import pytest

from coordination.lease import (
    HANDOVER_SECONDS,
    TTL_SECONDS,
    Grant,
    Lease,
    Member,
    Refusal,
    is_fenced_by,
    ray_namespace,
)
from coordination.membership import read_state
from coordination.redis_client import Address, RedisConnection, RedisRefusedError
from coordination.redis_users import HEAD_RIGHTS

NAMESPACE = "cslr-lab"
GCS, CLIENT, DASHBOARD = Address("10.0.0.1", 6385), Address("10.0.0.1", 10011), Address("10.0.0.1", 8275)


def uptime(link) -> int:
    info = str(link.command("INFO", "server"))
    return int(info.partition("uptime_in_seconds:")[2].split()[0])


@pytest.fixture
def lease(redis_link) -> Lease:
    """Of a Redis that has been up for longer than a lease lasts."""
    while uptime(redis_link) < TTL_SECONDS + 1:
        time.sleep(0.2)
    return Lease(redis_link, NAMESPACE)


def granted(lease: Lease, host: str = "alpha", instance: str = "i", **arguments) -> Grant:
    grant = lease.acquire(host, instance, **arguments)
    assert isinstance(grant, Grant), grant
    return grant


def refused(lease: Lease, host: str, **arguments) -> Refusal:
    refusal = lease.acquire(host, "i", **arguments)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def end(lease: Lease) -> None:
    """As if the time of the lease were over."""
    lease.link.command("DEL", f"{lease.prefix}lease")


def report(lease: Lease, host: str, *, candidate: bool = True, sees: int = 0, blind: int = 0) -> None:
    lease.report(Member(host, "10.0.0.9", candidate, sees, blind))


def age(lease: Lease, host: str, seconds: float) -> None:
    """As if the host's last report were so old."""
    key = f"{lease.prefix}members"
    text = str(lease.link.command("HGET", key, host))
    head, _, seen = text.rpartition('"seen":')
    lease.link.command("HSET", key, host, f'{head}"seen":{int(seen[:-1]) - int(seconds * 1000)}}}')


class TestAcquire:
    def test_one_has_it_and_the_others_learn_who_and_for_how_long(self, lease):
        assert lease.look() is None
        grant = granted(lease)
        refusal = refused(lease, "beta")
        assert refusal.reason == "alpha holds the lease"
        assert 0 < refusal.retry_after <= TTL_SECONDS
        view = lease.look()
        assert (view.host, view.epoch, view.instance, view.ready) == ("alpha", grant.epoch, "i", False)
        assert (view.gcs, view.client, view.dashboard) == (None, None, None)
        assert 0 < view.remaining <= TTL_SECONDS

    def test_each_epoch_is_higher_than_any_known_one(self, lease):
        first = granted(lease)
        end(lease)
        second = granted(lease, "beta")
        assert second.epoch == first.epoch + 1
        end(lease)
        assert granted(lease, floor=40).epoch == 41
        assert second.incarnation == first.incarnation

    def test_it_ends_by_itself(self, lease):
        granted(lease)
        lease.link.command("PEXPIRE", f"{lease.prefix}lease", 20)
        time.sleep(0.1)
        assert granted(lease, "beta").host == "beta"

    def test_a_later_run_of_the_same_host_takes_over_in_a_new_epoch(self, lease):
        first = granted(lease, instance="one")
        assert refused(lease, "alpha").reason == "alpha holds the lease"
        second = granted(lease, instance="two", takeover=True)
        assert second.epoch == first.epoch + 1
        assert not lease.renew(first).held
        assert lease.renew(second).held

    def test_who_asks_twice_since_the_answer_was_lost_has_a_new_epoch(self, lease):
        first = granted(lease)
        second = granted(lease)
        assert second.epoch == first.epoch + 1
        assert not lease.renew(first).held

    def test_lost_data_begins_another_incarnation(self, lease):
        first = granted(lease)
        lease.link.command("FLUSHALL")
        second = granted(lease)
        assert second.epoch == 1
        assert second.incarnation != first.incarnation
        assert ray_namespace(NAMESPACE, second.incarnation) != ray_namespace(NAMESPACE, first.incarnation)

    def test_nothing_is_granted_while_redis_is_being_moved(self, lease):
        lease.hold(30)
        assert refused(lease, "alpha").reason == "a failover of Redis is going on"
        lease.hold(0)
        granted(lease)

    def test_nor_to_a_host_in_maintenance(self, lease):
        assert lease.set_maintenance("alpha", True)
        assert not lease.set_maintenance("alpha", True)
        assert refused(lease, "alpha").reason == "this host is in maintenance"
        assert lease.maintenance() == {"alpha"}
        assert lease.set_maintenance("alpha", False)
        granted(lease)

    def test_nor_soon_after_a_restart_of_redis_that_has_data(self, lease, monkeypatch):
        granted(lease)
        end(lease)
        monkeypatch.setattr("coordination.lease.TTL_SECONDS", 100_000_000.0)
        refusal = refused(lease, "alpha")
        assert refusal.reason == "Redis has just started"
        assert refusal.retry_after > 1
        lease.link.command("FLUSHALL")
        granted(lease)


class TestHolder:
    def test_renewing_puts_the_end_off(self, lease):
        grant = granted(lease)
        lease.link.command("PEXPIRE", f"{lease.prefix}lease", 1000)
        assert lease.renew(grant).held
        assert lease.look().remaining > 5

    def test_who_lost_it_learns_to_whom_and_changes_nothing(self, lease):
        grant = granted(lease)
        end(lease)
        assert (lease.renew(grant).held, lease.renew(grant).holder) == (False, "")
        other = granted(lease, "beta")
        before = lease.look()
        assert (lease.renew(grant).held, lease.renew(grant).holder) == (False, "beta")
        assert not lease.announce(grant, GCS, CLIENT, DASHBOARD, {})
        assert not lease.retract(grant)
        assert not lease.release(grant, hold_down=60)
        after = lease.look()
        assert (after.epoch, after.host, after.ready) == (before.epoch, before.host, before.ready) == (2, "beta", False)
        assert lease.renew(other).held

    def test_a_lease_that_ran_out_is_revived_where_nobody_was_granted_it_since(self, lease):
        grant = granted(lease)
        end(lease)
        assert not lease.renew(grant).held
        renewal = lease.renew(grant, revive=True)
        assert (renewal.held, renewal.revived) == (True, True)
        assert (lease.look().epoch, lease.look().instance, lease.look().ready) == (grant.epoch, "i", False)
        assert 0 < lease.look().remaining <= TTL_SECONDS
        assert lease.renew(grant, revive=True).revived is False

    @pytest.mark.parametrize("meanwhile", ["granted", "granted and ended", "wiped", "moved"])
    def test_and_nowhere_else(self, lease, meanwhile):
        grant = granted(lease)
        end(lease)
        if meanwhile == "wiped":
            lease.link.command("FLUSHALL")
        elif meanwhile == "moved":
            lease.hold(30)
        else:
            granted(lease, "beta")
        if meanwhile == "granted and ended":
            end(lease)
        assert not lease.renew(grant, revive=True).held

    def test_everybody_learns_where_the_head_is(self, lease):
        grant = granted(lease)
        assert lease.announce(grant, GCS, CLIENT, DASHBOARD, {"ray": "2.60.0"})
        view = lease.look()
        assert (view.ready, view.gcs, view.client, view.dashboard) == (True, GCS, CLIENT, DASHBOARD)
        assert lease.versions() == {"ray": "2.60.0", "host": "alpha"}
        assert lease.retract(grant)
        assert not lease.look().ready

    def test_each_change_is_published(self, lease):
        events = lease.link.subscribe(lease.channel, idle=0.2)
        assert next(events) is None
        grant = granted(lease)
        lease.announce(grant, GCS, CLIENT, DASHBOARD, {})
        lease.set_maintenance("gamma", True)
        lease.release(grant, "stopped")
        for word in ("elected", "ready", "gamma", "stopped"):
            channel, message = next(events)
            assert channel == lease.channel
            assert word in message

    def test_a_release_lets_the_next_one_in_but_not_the_same_host(self, lease):
        grant = granted(lease)
        assert lease.release(grant, "failed", hold_down=30)
        assert lease.look() is None
        refusal = refused(lease, "alpha")
        assert refusal.reason == "this host stays away for a while after a failure"
        assert 29 < refusal.retry_after <= 30
        granted(lease, "beta")

    def test_what_happened_is_kept(self, lease):
        grant = granted(lease)
        lease.announce(grant, GCS, CLIENT, DASHBOARD, {})
        lease.release(grant, "handover")
        history = lease.history(10)
        assert [(entry["event"], entry["host"], entry["epoch"]) for entry in history] == [
            ("handover", "alpha", 1), ("ready", "alpha", 1), ("elected", "alpha", 1),
        ]  # fmt: skip
        assert abs(history[0]["time"] / 1000 - time.time()) < 60
        assert len(lease.history(1)) == 1


class TestOpinionOfTheOthers:
    def test_a_holder_learns_who_reaches_its_head_and_who_could_lead_instead(self, lease):
        grant = granted(lease)
        report(lease, "alpha", sees=1)
        report(lease, "beta", blind=1)
        report(lease, "gamma", candidate=False, blind=1)
        report(lease, "delta", candidate=False, sees=1)
        renewal = lease.renew(grant)
        assert (renewal.seeing, renewal.blind, renewal.fresh, renewal.others) == (2, 2, 4, 1)

    def test_what_concerns_another_epoch_or_is_old_does_not_count(self, lease):
        granted(lease)
        end(lease)
        grant = granted(lease)
        report(lease, "beta", blind=1)
        report(lease, "gamma", blind=2)
        age(lease, "gamma", 60)
        renewal = lease.renew(grant)
        assert (renewal.blind, renewal.fresh, renewal.others) == (0, 1, 1)

    def test_a_host_in_maintenance_or_held_down_could_not_lead(self, lease):
        grant = granted(lease)
        report(lease, "beta")
        report(lease, "gamma")
        lease.set_maintenance("beta", True)
        lease.link.command("SET", f"{lease.prefix}down:gamma", "failed", "PX", 10_000)
        assert lease.renew(grant).others == 0

    def test_its_own_maintenance_is_said(self, lease):
        grant = granted(lease)
        assert not lease.renew(grant).maintenance
        lease.set_maintenance("alpha", True)
        assert lease.renew(grant).maintenance

    def test_reports_come_back_as_they_were_with_the_time_of_redis(self, lease):
        member = Member("beta", "10.0.0.2", True, 3, 0, {"cuda": "", "list": [], "nested": {"a": 1.5}})
        lease.report(member)
        lease.report(Member("alpha", "10.0.0.1", False, 0, 4))
        first, second = read_state(lease.link, lease.namespace).members
        assert (first.host, first.blind, second.facts, second.sees) == ("alpha", 4, member.facts, 3)
        assert abs(second.seen / 1000 - time.time()) < 60
        assert lease.forget("beta")
        assert not lease.forget("beta")
        assert [member.host for member in read_state(lease.link, lease.namespace).members] == ["alpha"]


class TestHandover:
    @pytest.fixture
    def grant(self, lease):
        report(lease, "alpha")
        report(lease, "beta")
        report(lease, "gamma", candidate=False)
        return granted(lease)

    def test_only_the_host_that_is_meant_gets_the_lease(self, lease, grant):
        assert lease.request_handover("beta") == ""
        assert lease.renew(grant).handover == "beta"
        lease.release(grant, "handover")
        refusal = refused(lease, "alpha")
        assert refusal.reason == "the head is being moved to beta"
        assert 0 < refusal.retry_after <= HANDOVER_SECONDS
        moved = granted(lease, "beta")
        assert lease.renew(moved).handover == ""
        end(lease)
        granted(lease, "alpha")

    def test_any_other_host_will_do_where_none_is_named(self, lease, grant):
        assert lease.request_handover() == ""
        assert lease.renew(grant).handover == "*"

    @pytest.mark.parametrize(
        ("target", "reason"),
        [("alpha", "alpha is head already"), ("gamma", "gamma is not up"), ("delta", "delta is not up")],
    )
    def test_a_host_that_cannot_lead_is_refused(self, lease, grant, target, reason):
        assert reason in lease.request_handover(target)
        assert lease.renew(grant).handover == ""

    def test_so_is_one_that_is_silent_or_in_maintenance(self, lease, grant):
        age(lease, "beta", 60)
        assert "beta is not up" in lease.request_handover("beta")
        assert "no other host is up" in lease.request_handover()
        report(lease, "beta")
        lease.set_maintenance("beta", True)
        assert "out of maintenance" in lease.request_handover("beta")

    def test_without_a_head_nothing_is_moved(self, lease, grant):
        end(lease)
        assert lease.request_handover("beta") == "there is no head to move"


class TestFence:
    def test_each_attempt_has_a_name_and_a_password_of_its_own(self, lease):
        grant = granted(lease)
        first, second = lease.create_user(grant), lease.create_user(grant)
        assert first.username != second.username
        assert first.password != second.password
        assert first.password not in repr(first)

    def test_it_deletes_older_users_and_ends_their_connections(self, lease, redis_address):
        old = lease.create_user(granted(lease))
        connection = login(redis_address, old)
        end(lease)
        grant = granted(lease, "beta")
        own = lease.create_user(grant)
        lease.fence(grant, keep=own.username)
        with pytest.raises(OSError, match=r"closed the connection|reset by peer"):
            connection.command("PING")
        with pytest.raises(RedisRefusedError):
            login(redis_address, old)
        assert login(redis_address, own).command("PING") == "PONG"
        lease.fence(grant, keep=own.username)
        assert login(redis_address, own).command("PING") == "PONG"

    def test_it_spares_later_grants_and_other_clusters(self, lease):
        first = granted(lease)
        end(lease)
        later = lease.create_user(granted(lease))
        other = Lease(lease.link, f"{NAMESPACE}-2")
        others = other.create_user(granted(other))
        lease.fence(first)
        names = lease.link.command("ACL", "USERS")
        assert {later.username, others.username, "default"} <= set(names)

    @pytest.mark.parametrize(
        ("username", "fenced"),
        [
            (f"ray-{NAMESPACE}-4-{'a' * 16}{'0' * 16}", True),
            (f"ray-{NAMESPACE}-5-{'a' * 16}{'0' * 16}", True),
            (f"ray-{NAMESPACE}-6-{'a' * 16}{'0' * 16}", False),
            (f"ray-{NAMESPACE}-10-{'a' * 16}{'0' * 16}", False),
            (f"ray-{NAMESPACE}-9-{'b' * 16}{'0' * 16}", True),  # of data that was lost
            (f"ray-{NAMESPACE}-2-4-{'a' * 16}{'0' * 16}", False),
            ("default", False),
        ],
    )
    def test_who_is_fenced(self, username, fenced):
        assert is_fenced_by(Grant("alpha", "i", 5, "a" * 16), NAMESPACE, username) is fenced


class TestRights:
    """What a head may do in Redis; tests/cluster run Ray with these rights."""

    @pytest.fixture
    def head(self, lease, redis_address):
        grant = granted(lease)
        return login(redis_address, lease.create_user(grant)), f"RAY{ray_namespace(NAMESPACE, grant.incarnation)}@KV"

    def test_it_works_on_the_tables_of_its_own_ray(self, head):
        connection, table = head
        assert connection.command("HSET", table, "key", "value") == 1
        assert connection.command("HGET", table, "key") == "value"
        assert connection.command("HSCAN", table, 0) == ["0", ["key", "value"]]
        assert connection.command("DEL", "DUMMY") == 0
        assert "redis" in str(connection.command("INFO", "SENTINEL")) or connection.command("INFO", "SENTINEL") == ""

    @pytest.mark.parametrize(
        "command",
        [
            ("HGET", "RAYcslr-other@KV", "key"),
            ("HSET", f"cslr:{NAMESPACE}:lease", "host", "beta"),
            ("GET", f"cslr:{NAMESPACE}:epoch"),
            ("EVAL", "return 1", 0),
            ("ACL", "USERS"),
            ("ACL", "SETUSER", "intruder", "on", "nopass", "+@all", "~*"),
            ("CONFIG", "GET", "*"),
            ("KEYS", "*"),
            ("FLUSHALL",),
            ("PUBLISH", f"cslr:{NAMESPACE}:events", "x"),
            ("INFO", "server"),
        ],
    )
    def test_and_on_nothing_else(self, head, command):
        connection, _ = head
        with pytest.raises(RedisRefusedError, match="NOPERM"):
            connection.command(*command)

    def test_it_cannot_delete_its_tables(self, head):
        connection, table = head
        with pytest.raises(RedisRefusedError, match="NOPERM"):
            connection.command("DEL", table)

    def test_each_right_has_its_reason(self):
        assert all(reason for _, reason in HEAD_RIGHTS)


def login(address: Address, credentials) -> RedisConnection:
    connection = RedisConnection(address, "")
    connection.command("AUTH", credentials.username, credentials.password)
    return connection
