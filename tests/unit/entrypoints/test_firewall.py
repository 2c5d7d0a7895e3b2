"""entrypoints/firewall.py: its rules, when it sets them, and its health check."""

import signal
import time

import pytest

from contracts.firewall import FirewallSettings
from entrypoints import firewall
from entrypoints.firewall import Firewall, FirewallError, Names, Report, ruleset

ALONE = FirewallSettings(table="cslr-dev", gateway="172.28.0.1")
CLUSTER = FirewallSettings(
    table="cslr-alpha",
    gateway="172.28.0.1",
    hosts=("10.88.0.1", "10.88.0.2"),
    ports=("6379", "12000-12999"),
    forwarded=(6381,),
)


class Kernel:
    """``nft`` on a kernel that takes every table as it is given, unless told otherwise."""

    def __init__(self) -> None:
        self.tables: dict[str, str] = {}
        self.calls: list[tuple[str, ...]] = []
        self.refusal = ""

    def __call__(self, *arguments: str, given: str = "") -> str:
        self.calls.append(arguments)
        if self.refusal:
            raise FirewallError(self.refusal)
        if arguments == ("-f", "-"):
            self.tables[given.split()[2]] = given
            return ""
        name = arguments[-1]
        if name not in self.tables:
            raise FirewallError(f"nft: no table {name}")
        return self.tables.pop(name) if arguments[0] == "delete" else self.tables[name]

    @property
    def changes(self) -> int:
        return self.calls.count(("-f", "-"))


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def keeping(kernel: Kernel, rules: FirewallSettings = ALONE, bridge: str | None = "br-1") -> Firewall:
    return Firewall(rules, nft=kernel, bridge_of=lambda _: bridge)


def lines(rules: FirewallSettings, hosts: tuple[str, ...] = ()) -> list[str]:
    return [line.strip() for line in ruleset(rules, "br-1", hosts).splitlines()]


class TestRules:
    def test_replace_the_table_as_a_whole(self):
        """In one transaction: there is no moment without rules, and none with two sets of them."""
        assert lines(ALONE)[:3] == ["table inet cslr-dev", "delete table inet cslr-dev", "table inet cslr-dev {"]

    def test_of_a_host_of_its_own_concern_forwarded_packets_alone(self):
        text = ruleset(ALONE, "br-1", ())
        assert "hook input" not in text
        assert text.count("hook forward") == 1

    def test_let_through_what_docker_published_elsewhere_than_on_the_loopback(self):
        rules = lines(ALONE)
        end = rules.index("drop")
        assert rules[end - 1] == "ct status dnat ct original ip daddr != 127.0.0.0/8 accept"
        assert rules[end - 4 : end - 1] == [
            'oifname != "br-1" accept',
            'iifname "br-1" accept',
            "ct direction reply accept",
        ]

    def test_of_a_cluster_keep_its_ports_for_its_hosts(self):
        rules = lines(CLUSTER, CLUSTER.hosts)
        assert "tcp dport { 6379, 12000-12999 } jump guarded" in rules
        at = rules.index("chain guarded {")
        assert rules[at + 1 : at + 6] == [
            'iifname "lo" accept',
            "ct direction reply accept",
            "ip saddr { 10.88.0.1, 10.88.0.2 } accept",
            'iifname "br-1" tcp dport { 6381 } accept',  # health asks the Redis of its own host
            "drop",
        ]

    def test_own_containers_reach_redis_alone_of_what_is_guarded(self):
        without_redis = FirewallSettings(**{**vars(CLUSTER), "forwarded": ()})
        assert not [line for line in lines(without_redis, CLUSTER.hosts) if "tcp dport" in line and "accept" in line]

    def test_prometheus_reaches_what_it_asks_for_figures(self):
        asked = FirewallSettings(**{**vars(CLUSTER), "scraped": (11005, 11205)})
        assert 'iifname "br-1" tcp dport { 6381, 11005, 11205 } accept' in lines(asked, CLUSTER.hosts)

    def test_of_a_cluster_keep_forwarded_ports_for_its_hosts(self):
        rules = lines(CLUSTER, CLUSTER.hosts)
        dropped = "meta l4proto tcp ct original proto-dst { 6381 } ip saddr != { 10.88.0.1, 10.88.0.2 } drop"
        assert rules.index(dropped) < rules.index("ct status dnat ct original ip daddr != 127.0.0.0/8 accept")

    def test_allowed_sources_reach_everything(self):
        allowed = FirewallSettings(**{**vars(CLUSTER), "allow": ("192.168.7.0/24",)})
        rules = lines(allowed, CLUSTER.hosts)
        assert "ip saddr { 192.168.7.0/24 } accept" in rules
        assert "ip saddr { 10.88.0.1, 10.88.0.2, 192.168.7.0/24 } accept" in rules

    def test_a_source_that_is_a_host_as_well_is_named_once(self):
        """Else `nft` refuses the set: intervals overlap."""
        allowed = FirewallSettings(**{**vars(CLUSTER), "allow": ("10.88.0.1",)})
        assert "ip saddr { 10.88.0.1, 10.88.0.2 } accept" in lines(allowed, CLUSTER.hosts)
        allowed = FirewallSettings(**{**vars(CLUSTER), "allow": ("10.88.0.0/24", "10.88.0.0/16")})
        assert lines(allowed, CLUSTER.hosts).count("ip saddr { 10.88.0.0/16 } accept") == 2

    def test_nobody_gets_in_while_no_host_can_be_looked_up(self):
        """Else `nft` refuses an empty set, and all of the rules with it."""
        rules = lines(CLUSTER, ())
        assert not [line for line in rules if "{  }" in line or "saddr" in line]
        assert "meta l4proto tcp ct original proto-dst { 6381 } drop" in rules
        at = rules.index("chain guarded {")
        assert rules[at + 1 : at + 5] == [
            'iifname "lo" accept',
            "ct direction reply accept",
            'iifname "br-1" tcp dport { 6381 } accept',
            "drop",
        ]


class TestRun:
    @pytest.mark.parametrize("value", [None, "", "[]", '{"table": "t"}', '{"tabel": "t", "gateway": "g"}'])
    def test_wrong_settings_are_said(self, value, monkeypatch, capsys):
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        assert firewall.run({"CSLR_SETTINGS": value} if value is not None else {}) == 1
        assert "CSLR_SETTINGS" in capsys.readouterr().out


class TestLook:
    def test_sets_the_rules_once(self, kernel):
        kept = keeping(kernel)
        kept.look()
        kept.look()
        assert kernel.changes == 1
        assert 'oifname != "br-1" accept' in kernel.tables["cslr-dev"]

    def test_sets_them_again_when_somebody_removed_them(self, kernel, capsys):
        kept = keeping(kernel)
        kept.look()
        kernel.tables.clear()
        kept.look()
        assert "cslr-dev" in kernel.tables
        assert kept.report.repaired == 1
        assert "set again" in capsys.readouterr().out

    def test_sets_them_again_when_somebody_changed_them(self, kernel):
        kept = keeping(kernel)
        kept.look()
        whole = kernel.tables["cslr-dev"]
        kernel.tables["cslr-dev"] = whole.replace("drop", "accept")
        kept.look()
        assert kernel.tables["cslr-dev"] == whole

    def test_takes_over_what_an_earlier_one_left(self, kernel):
        kernel.tables["cslr-dev"] = "of before"
        keeping(kernel).look()
        assert "br-1" in kernel.tables["cslr-dev"]

    def test_follows_the_bridge_of_a_replaced_network(self, kernel):
        bridges = iter(["br-1", "br-2"])
        kept = Firewall(ALONE, nft=kernel, bridge_of=lambda _: next(bridges))
        kept.look()
        kept.look()
        assert 'oifname != "br-2" accept' in kernel.tables["cslr-dev"]
        assert kept.report.repaired == 0

    def test_leaves_the_tables_of_other_stacks_alone(self, kernel):
        kernel.tables["cslr-other"] = "theirs"
        kept = keeping(kernel)
        kept.look()
        kept.remove()
        assert kernel.tables == {"cslr-other": "theirs"}

    def test_keeps_its_rules_while_the_bridge_is_gone(self, kernel):
        bridges = iter(["br-1", None])
        kept = Firewall(ALONE, nft=kernel, bridge_of=lambda _: next(bridges))
        kept.look()
        with pytest.raises(FirewallError, match="no interface of this host has"):
            kept.look()
        assert "cslr-dev" in kernel.tables

    def test_removing_what_is_gone_is_no_error(self, kernel):
        keeping(kernel).remove()

    def test_refusal_of_the_kernel_is_passed_on(self, kernel):
        kernel.refusal = "nft: Operation not permitted"
        with pytest.raises(FirewallError, match="not permitted"):
            keeping(kernel).look()


class TestNames:
    def test_addresses_stay_what_they_are(self):
        assert Names(("10.88.0.2", "10.88.0.1")).addresses() == ("10.88.0.1", "10.88.0.2")

    def test_name_is_looked_up_and_remembered(self, monkeypatch):
        now = [0.0]
        answers = iter([[(2, 1, 6, "", ("10.0.0.7", 0))], OSError(), [(2, 1, 6, "", ("10.0.0.8", 0))]])

        def look_up(*_: object) -> object:
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

        monkeypatch.setattr("socket.getaddrinfo", look_up)
        names = Names(("head.example.org",), clock=lambda: now[0])
        for at, expected in ((0.0, "10.0.0.7"), (30.0, "10.0.0.7"), (61.0, "10.0.0.7"), (122.0, "10.0.0.8")):
            now[0] = at
            assert names.addresses() == (expected,)


def test_interface_is_found_by_its_address():
    assert firewall.interface_of("127.0.0.1") == "lo"
    assert firewall.interface_of("203.0.113.77") is None


class TestHealth:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    def test_before_the_first_look(self, capsys):
        assert firewall.health() == 1
        assert "not set its rules yet" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("report", "code", "said"),
        [
            ({}, 0, "rules stand\n"),
            ({"problem": "nft: no"}, 1, "nft: no\n"),
            ({"at": -100.0}, 1, "has not checked its rules for 100 s\n"),
            ({"repaired": 2, "repaired_at": -5.0}, 0, "rules stand; set again 2 times, since others removed them\n"),
            ({"repaired": 2, "repaired_at": -1000.0}, 0, "rules stand\n"),
        ],
    )
    def test_says_how_the_rules_stand(self, capsys, report, code, said):
        now = time.monotonic()
        times = {key: now + report.pop(key) for key in ("at", "repaired_at") if key in report}
        firewall.tell(Report(**{"at": now, **report, **times}))
        assert firewall.health() == code
        assert capsys.readouterr().out == said
