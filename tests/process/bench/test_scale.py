"""The simulated hosts of bench/scale.py behave like hosts of a cluster."""

import json

from bench import scale
from bench.scale_members import FACTS
from config.load import load
from coordination.lease import Lease
from coordination.membership import MemberState, read_state
from stack.advertised_facts import published
from stack.identity import StackIdentity
from stack.state import HostFiles
from testing.redis_pair import until
from testing.redis_users import REDIS_PASSWORD


class TestPlayedHosts:
    def test_they_report_what_real_hosts_report(self, tmp_path):
        files = HostFiles(folder=tmp_path, dry_run=False)
        real = published(load({}, stack_file=""), StackIdentity(project="cslr", stack="host-0000"), files)
        assert set(FACTS) == set(real)
        assert abs(len(json.dumps(FACTS)) - len(json.dumps(real))) < 40

    def test_they_report_and_follow_the_head(self, redis_link, redis_address, tmp_path):
        (tmp_path / "password").write_text(REDIS_PASSWORD)
        redis = scale.Redis(address=redis_address, password=REDIS_PASSWORD, password_file=tmp_path / "password")
        lease = Lease(redis_link, scale.NAMESPACE)
        players = scale.start_players(redis, 5, 2, "membership")

        def members() -> tuple[MemberState, ...]:
            return read_state(redis_link, scale.NAMESPACE).members

        until(lambda: len(members()) == 2, 20)
        grant = scale.lead(lease, "host-0005")
        until(lambda: all(member.sees == grant.epoch for member in members()))
        answer = json.loads(players.communicate(timeout=20)[0].splitlines()[-1])
        assert all(str(grant.epoch) in heads for heads in answer["heads"])
        assert answer["failures"] == 0
        assert [member.host for member in members()] == ["host-0005", "host-0006"]


class TestPreview:
    def test_a_block_of_many_hosts_is_valid(self):
        assert scale.preview_seconds(300) < 5
