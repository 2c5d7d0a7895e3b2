"""`ws node`, `ws head` and `ws cluster`: against a real Redis, with a simulated dashboard and agents."""

import http.server
import io
import json
import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import pytest
from rich.console import Console

from contracts.ray_nodes import RayNode
from coordination.lease import Grant, Lease, Member
from coordination.membership import drain_key
from coordination.redis_client import Address, RedisLink
from stack.cluster_key import key_file
from testing.redis_access import access_on
from testing.redis_users import REDIS_PASSWORD
from ws import cli
from ws.cluster import drain, head, hosts, nodes
from ws.cluster.access import Access
from ws.cluster.ray_api import NoHeadError, RayApi, Work
from ws.containers import ContainerState
from ws.engine_names import EngineName
from ws.errors import WsError

GCS = Address("10.0.0.1", 6385)
COMMANDS = (
    "node list", "node drain", "node resume", "node remove", "head show", "head move", "head cordon", "head uncordon",
    "redis status", "redis failover", "cluster key", "cluster check",
)  # fmt: skip


def entry(name: str, **changes: Any) -> RayNode:
    host = name.partition("-")[0]
    usual = RayNode(
        identifier=f"id-{name}", name=name, host=host, address="10.0.0.1", head=False, alive=True, message="",
        cpus=2.0, gpus=0.0, memory=0, object_store_memory=0, started_ms=1_700_000_000_000, ended_ms=0,
    )  # fmt: skip
    return replace(usual, **changes)


@dataclass
class Dashboard:
    """Ray, as far as the commands ask it."""

    listed: list[RayNode] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)  # at each question, the next one; the last stays
    there: bool = True

    def nodes(self) -> list[RayNode]:
        if not self.there:
            raise NoHeadError("The dashboard does not answer.")
        return list(self.listed)

    def work(self, _node: RayNode) -> Work:
        self.nodes()
        return self.works.pop(0) if len(self.works) > 1 else self.works[0]

    def join(self, name: str) -> None:
        self.listed = [*self.listed, entry(name, identifier="another")]

    def end(self, name: str) -> None:
        self.listed = [replace(one, alive=False) if one.name == name else one for one in self.listed]


@dataclass(frozen=True, kw_only=True)
class PlayedAccess(Access):
    """The way to a cluster whose dashboard is played."""

    played: Dashboard = field(default_factory=Dashboard)

    @property
    def ray(self) -> Any:
        return self.played


@pytest.fixture
def access(redis_link):
    """Of the host alpha; beta and alpha may lead. The dashboard lists a node of each host."""
    usual = access_on("alpha")
    assert usual.membership
    cluster = usual.membership.cluster.model_copy(update={"head_address": None, "head_whitelist": ("alpha", "beta")})
    listed = [entry("alpha-ray-cpu"), entry("beta-ray-cpu"), entry("alpha-ray-head", head=True, cpus=0.0)]
    return PlayedAccess(
        identity=usual.identity,
        servers=redis_link.addresses,
        dashboard=usual.dashboard,
        membership=replace(usual.membership, cluster=cluster),
        redis_password=REDIS_PASSWORD,
        ray_token="",
        played=Dashboard(listed, [Work((), ())]),
    )


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def report(lease: Lease, *names: str) -> None:
    for name in names:
        lease.report(Member(host=name, address="10.0.0.1", candidate=name != "gamma", sees=0, blind=0))


def lead(lease: Lease, host: str) -> Grant:
    while not isinstance(grant := lease.acquire(host, f"agent-of-{host}"), Grant):
        assert grant.reason == "Redis has just started"
        time.sleep(0.1)
    lease.announce(grant, GCS, GCS, GCS, {"ray": "2.60.0"})
    return grant


@pytest.fixture
def led(access):
    """Alpha leads, all hosts have reported."""
    report(access.lease, "alpha", "beta", "gamma")
    lead(access.lease, "alpha")
    return access


class TestNodeList:
    def test_it_shows_where_each_node_is_and_what_it_does(self, led):
        rows = {row.node: row for row in nodes.nodes_of(led).nodes}
        assert list(rows) == ["alpha-ray-cpu", "alpha-ray-head", "beta-ray-cpu"]
        assert (rows["alpha-ray-head"].role, rows["alpha-ray-head"].state) == ("head", "alive")
        assert (rows["beta-ray-cpu"].host, rows["beta-ray-cpu"].cpus) == ("beta", 2.0)

    @pytest.mark.parametrize(
        ("marked", "alive", "state"),
        [(False, True, "alive"), (True, True, "draining"), (True, False, "drained"), (False, False, "gone")],
    )
    def test_the_state_follows_from_the_mark_and_from_ray(self, led, marked, alive, state):
        led.played.listed = [entry("beta-ray-cpu", alive=alive)]
        led.lease.set_maintenance("beta-ray-cpu", marked)
        assert [row.state for row in nodes.nodes_of(led).nodes] == [state]

    def test_a_node_that_came_back_is_listed_once(self, led):
        led.played.listed = [entry("beta-ray-cpu", alive=False, ended_ms=9), entry("beta-ray-cpu", started_ms=5)]
        assert [row.state for row in nodes.nodes_of(led).nodes] == ["alive"]

    def test_former_heads_are_not_listed(self, led):
        led.played.listed.append(entry("beta-ray-head", alive=False))
        assert "beta-ray-head" not in [row.node for row in nodes.nodes_of(led).nodes]

    def test_without_a_head_it_says_why_and_shows_what_is_kept_out(self, access):
        access.played.there = False
        report(access.lease, "gamma")
        access.lease.set_maintenance("beta-ray-cpu", True)
        access.lease.set_maintenance("beta", True)
        found = nodes.nodes_of(access)
        assert "there is no head: no whitelisted host is up: alpha (never seen)" in found.problem
        assert [(row.node, row.host, row.state) for row in found.nodes] == [("beta-ray-cpu", "beta", "drained")]

    def test_programs_can_read_it(self, led):
        row = json.loads(json.dumps(nodes.as_json(nodes.nodes_of(led))))["nodes"][0]
        assert set(row) == {"node", "host", "role", "state", "cpus", "gpus", "address", "since"}


@pytest.fixture
def asked(led, monkeypatch):
    """What nodes were asked; the mark is set, and with 0 seconds Ray ends there."""
    questions: list[tuple[str, int]] = []

    def ask(access: PlayedAccess, name: str, seconds: int, *, ends_by_itself: bool = True) -> None:
        questions.append((name, seconds))
        if not ends_by_itself:
            drain._mark(access, name, None)
        access.lease.set_maintenance(name, True)
        if seconds == 0:
            access.played.end(name)

    monkeypatch.setattr(drain, "_ask_node", ask)
    monkeypatch.setattr(drain, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(drain, "END_SECONDS", 0.3)
    monkeypatch.setattr(drain, "RETURN_SECONDS", 0.3)
    monkeypatch.setattr(drain, "containers", lambda _: [])
    return questions


class TestDrain:
    def test_it_ends_as_soon_as_nothing_runs_there(self, led, asked, console):
        led.played.works = [Work(("train",), ("Counter",)), Work((), ("Counter",)), Work((), ())]
        drain.drain(led, "beta-ray-cpu", 60, console)
        assert asked == [("beta-ray-cpu", 60), ("beta-ray-cpu", 0)]
        assert "beta-ray-cpu is drained" in said(console)
        assert "waiting for 1 task, 1 actor" in said(console)
        assert "train, Counter" in said(console)

    def test_what_does_not_end_in_time_is_named(self, led, asked, console, monkeypatch):
        led.played.works = [Work(("train",), ())]
        threading.Timer(1.1, led.played.end, ("beta-ray-cpu",)).start()  # its own supervisor keeps the time
        drain.drain(led, "beta-ray-cpu", 1, console)
        assert "Not ended by itself within 1 s, and ended now: 1 task, 0 actors (train)" in said(console)

    def test_what_began_meanwhile_is_asked_about_right_before_the_end(self, led, asked):
        led.played.works = [Work(("train",), ())]
        seen: list[tuple[int, bool]] = []
        beta = entry("beta-ray-cpu")

        def before_end(left: float) -> None:
            seen.append((int(left), led.played.nodes()[1].alive))

        drain.vacate(led, beta, 1, lambda _: None, before_end)
        assert (seen, asked) == ([(0, True)], [("beta-ray-cpu", 1), ("beta-ray-cpu", 0)])

    def test_what_may_not_be_ended_keeps_its_node_and_has_no_deadline(self, led, asked):
        led.played.works = [Work((), ())]

        def refuse(_left: float) -> None:
            raise WsError("1 driver would end")

        with pytest.raises(WsError, match="1 driver would end"):
            drain.vacate(led, entry("beta-ray-cpu"), 1, lambda _: None, refuse)
        assert asked == [("beta-ray-cpu", 1)]
        assert led.lease.link.command("PTTL", drain_key(led.namespace, "beta-ray-cpu")) == -1
        assert led.state().draining == ("beta-ray-cpu",)

    def test_a_node_that_does_not_end_is_an_error(self, led, asked, console, monkeypatch):
        monkeypatch.setattr(drain, "_ask_node", lambda *_, **__: None)
        with pytest.raises(WsError, match="Ray ends on beta-ray-cpu: not within"):
            drain.drain(led, "beta-ray-cpu", 60, console)

    def test_an_unknown_node_is_an_error_with_the_closest_name(self, led, asked, console):
        with pytest.raises(WsError, match=r"no node beta-ray-cup\.\n  Did you mean beta-ray-cpu\?"):
            drain.drain(led, "beta-ray-cup", 60, console)

    def test_the_head_is_moved_instead(self, led, asked, console):
        with pytest.raises(WsError, match=r"alpha-ray-head leads the cluster\.\n.*ws head move"):
            drain.drain(led, "alpha-ray-head", 60, console)

    def test_one_that_is_out_already_stays_out(self, led, asked, console):
        led.played.end("beta-ray-cpu")
        led.lease.set_maintenance("beta-ray-cpu", True)
        drain.drain(led, "beta-ray-cpu", 60, console)
        assert asked == []
        assert "is drained already" in said(console)


class TestResume:
    def test_it_takes_the_mark_away_and_waits_for_the_node(self, led, asked, console):
        led.played.end("beta-ray-cpu")
        led.lease.set_maintenance("beta-ray-cpu", True)
        threading.Timer(0.1, led.played.join, ("beta-ray-cpu",)).start()
        drain.resume(led, "beta-ray-cpu", console)
        assert led.lease.maintenance() == set()
        assert "beta-ray-cpu is back" in said(console)

    def test_one_that_still_drains_ends_first_since_ray_takes_no_drain_back(self, led, asked, console):
        led.lease.set_maintenance("beta-ray-cpu", True)
        threading.Timer(0.1, led.played.join, ("beta-ray-cpu",)).start()
        drain.resume(led, "beta-ray-cpu", console)
        assert asked == [("beta-ray-cpu", 0)]

    def test_one_that_does_not_come_back_is_an_error(self, led, asked, console):
        led.played.end("beta-ray-cpu")
        led.lease.set_maintenance("beta-ray-cpu", True)
        with pytest.raises(WsError, match="beta-ray-cpu joins: not within"):
            drain.resume(led, "beta-ray-cpu", console)

    def test_a_host_is_no_node_and_stays_cordoned(self, led, asked, console):
        led.lease.set_maintenance("alpha", True)
        for work in (drain.resume, partial(drain.drain, seconds=60), partial(drain.remove, seconds=60)):
            with pytest.raises(WsError, match="alpha is a host, not a node"):
                work(led, "alpha", console=console)
        assert led.lease.maintenance() == {"alpha"}
        assert asked == []


class TestRemove:
    def test_of_another_host_it_drains_and_says_what_to_run_there(self, led, asked, console):
        drain.remove(led, "beta-ray-cpu", 60, console)
        text = " ".join(said(console).split())
        assert "On beta, with the name of its stack: ws node remove beta-ray-cpu --stack STACK" in text
        assert led.lease.maintenance() == {"beta-ray-cpu"}


class TestHeadShow:
    def test_who_leads_and_who_would_be_next(self, led, console):
        led.lease.set_maintenance("beta", True)
        shown = head.look(led)
        head.show(shown, console)
        assert "alpha leads since" in said(console)
        assert [(one.host, one.state) for one in shown.candidates] == [
            ("alpha", "leads"),
            ("beta", "cordoned"),
        ]
        assert head.as_json(shown)["history"][0]["event"] == "ready"

    def test_why_nobody_leads(self, access, console):
        report(access.lease, "gamma")
        head.show(head.look(access), console)
        assert "There is no head: no whitelisted host is up: alpha (never seen)" in said(console)

    def test_that_election_is_off(self, access, console):
        cluster = access.membership.cluster.model_copy(update={"head_address": "alpha:6379"})
        fixed = replace(access, membership=replace(access.membership, cluster=cluster))
        head.show(head.look(fixed), console)
        assert "Election is off: `head_address` names the head, 127.0.1.3:6379" in said(console)
        assert head.as_json(head.look(fixed))["problem"] == ""
        with pytest.raises(WsError, match=r"head_address in cluster\.yaml fixes the head"):
            head.move(fixed, None, console)


class TestHeadMove:
    @pytest.mark.parametrize("target", ["beta", None])
    def test_it_waits_until_the_other_host_leads(self, led, console, target, monkeypatch):
        def obey() -> None:  # as the agents of both hosts
            link = RedisLink(led.servers, REDIS_PASSWORD)
            lease, handover = Lease(link, led.namespace), ""
            grant = Grant("alpha", "agent-of-alpha", 1, "")
            while not handover:
                handover = lease.renew(grant).handover
            lease.release(grant, "moved")
            lead(lease, "beta")

        monkeypatch.setattr(head, "MOVE_SECONDS", 15.0)
        threading.Thread(target=obey, daemon=True).start()
        head.move(led, target, console)
        assert "beta leads after" in said(console)
        assert "epoch 2" in said(console)

    def refused(self, access: Access, host: str | None, console: Console) -> str:
        with pytest.raises(WsError) as error:
            head.move(access, host, console)
        assert not access.lease.link.command("EXISTS", f"cslr:{access.namespace}:handover")
        return str(error.value)

    def test_a_host_that_is_not_whitelisted(self, led, console):
        assert "gamma may not lead: head_whitelist in cluster.yaml" in self.refused(led, "gamma", console)

    def test_a_host_that_is_not_up(self, access, console):
        report(access.lease, "alpha")
        lead(access.lease, "alpha")
        text = self.refused(access, "beta", console)
        assert "beta: never reported.\n  Start it on beta, with the name of its stack: ws up" in text

    def test_a_host_in_maintenance(self, led, console):
        led.lease.set_maintenance("beta", True)
        assert "ws head uncordon beta" in self.refused(led, "beta", console)
        assert "ws head uncordon beta" in self.refused(led, None, console)

    def test_the_host_that_leads(self, led, console):
        assert "alpha leads already" in self.refused(led, "alpha", console)

    def test_nobody_to_move_from(self, access, console):
        assert "There is no head" in self.refused(access, "beta", console)

    def test_one_host_alone(self, led, console):
        assert "is a single host" in self.refused(replace(led, membership=None), None, console)


class TestCordon:
    def test_it_marks_a_host_and_ends_that(self, led, console):
        head.cordon(led, "beta", console)
        assert led.lease.maintenance() == {"beta"}
        head.uncordon(led, "beta", console)
        assert led.lease.maintenance() == set()

    def test_not_the_one_that_leads(self, led, console):
        with pytest.raises(WsError, match="First: ws head move"):
            head.cordon(led, "alpha", console)

    @pytest.mark.parametrize("change", [head.cordon, head.uncordon])
    def test_not_one_that_the_cluster_does_not_have(self, led, console, change):
        with pytest.raises(WsError, match="no host"):
            change(led, "betta", console)
        assert led.lease.maintenance() == set()

    def test_not_one_that_never_leads(self, led, console):
        with pytest.raises(WsError, match="gamma never leads"):
            head.cordon(led, "gamma", console)

    def test_not_on_one_host_alone(self, led, console):
        with pytest.raises(WsError, match="is a single host"):
            head.cordon(replace(led, membership=None), "beta", console)

    def test_its_former_name_works_and_is_not_shown(self, led, monkeypatch, capsys):
        monkeypatch.setattr("ws.cluster.access.access_to", lambda _: led)
        assert cli.main(["head", "keep-off", "beta"]) == 0
        assert led.lease.maintenance() == {"beta"}
        assert cli.main(["head", "keep-off", "beta", "--end"]) == 0
        assert led.lease.maintenance() == set()
        assert cli.main(["head", "--help"]) == 0
        assert "keep-off" not in capsys.readouterr().out


class TestStackThatIsNotDeployed:
    """Its ports may be another stack's."""

    @pytest.mark.parametrize(
        "command",
        ["node list", "node drain x", "node resume x", "node remove x", "head show", "head move", "head cordon x",
         "head uncordon x", "head keep-off x", "redis status", "redis failover"],
    )  # fmt: skip
    @pytest.mark.parametrize("state", [None, "exited"])
    def test_is_said_to_be_so(self, command, state, monkeypatch, capsys):
        found = [container_state("health", "running"), *([container_state("redis", state)] if state else [])]
        monkeypatch.setattr("ws.cluster.access.containers", lambda _identity: found)
        monkeypatch.setattr(RedisLink, "command", lambda *_: pytest.fail("Redis was asked"))
        assert cli.main([*command.split(), "--stack", "dev"]) == 1
        said = capsys.readouterr().err
        assert "stack dev is not deployed" in said
        assert "ws up --stack dev" in said


def container_state(service: str, state: str) -> ContainerState:
    return ContainerState(
        service=service, name=service, identifier="1", state=state, health=state, status=state, image="x", ports=(),
        engine=EngineName.EMBEDDED,
    )  # fmt: skip


class TestDashboard:
    @pytest.fixture
    def api(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            answers: ClassVar[dict[str, list[dict[str, Any]]]] = {
                "/api/v0/nodes": [
                    {
                        "node_id": "ab", "node_ip": "10.0.0.1", "is_head_node": True, "state": "ALIVE",
                        "labels": {"cslr.node": "alpha-ray-cpu", "cslr.host": "alpha"}, "start_time_ms": 5,
                        "resources_total": {"CPU": 2.0, "memory": 1e9},
                    }
                ],
                "/api/v0/tasks": [{"name": "f", "state": "RUNNING"}, {"name": "g", "state": "FINISHED"}],
                "/api/v0/actors": [{"name": "", "class_name": "C", "state": "ALIVE"}, {"name": "d", "state": "DEAD"}],
            }  # fmt: skip

            def do_GET(self):
                allowed = self.headers["Authorization"] == "Bearer token"
                self.send_response(200 if allowed else 401)
                self.end_headers()
                result = {"result": self.answers[self.path.partition("?")[0]]}
                self.wfile.write(json.dumps({"data": {"result": result}}).encode())

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()

    def test_nodes_have_their_labels(self, api):
        (node,) = RayApi(api, "token").nodes()
        assert (node.name, node.host, node.head, node.cpus, node.gpus) == ("alpha-ray-cpu", "alpha", True, 2.0, 0.0)

    def test_work_is_what_has_not_ended(self, api):
        assert RayApi(api, "token").work(entry("alpha-ray-cpu")) == Work(("f",), ("C",))

    def test_a_wrong_token_is_not_taken_for_a_lack_of_a_head(self, api):
        with pytest.raises(WsError, match="refuses this stack's token") as error:
            RayApi(api, "other").nodes()
        assert not isinstance(error.value, NoHeadError)

    def test_nobody_there(self):
        with pytest.raises(NoHeadError):
            RayApi("http://127.0.0.1:1", "token").nodes()


class TestClusterKey:
    @pytest.fixture
    def gamma(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        membership = access_on("gamma").membership
        monkeypatch.setattr(hosts, "_membership", lambda _: membership)

    def test_it_says_where_it_is_and_how_to_copy_it(self, gamma, console):
        hosts.show_key("dev", console)
        file = key_file("cslr", "lab")
        assert file.is_file()
        assert f"scp 127.0.1.1:{file} {file}" in " ".join(said(console).split())
        assert file.read_text().strip() not in said(console)

    def test_a_host_alone_has_none(self, console):
        with pytest.raises(WsError, match=r"no cslr:cluster(.|\n)*docs/several-hosts\.md"):
            hosts.show_key("dev", console)


class TestCommandLine:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_its_own_help(self, command, capsys):
        assert cli.main([*command.split(), "--help"]) == 0
        assert f"Usage: ws {command}" in capsys.readouterr().out

    def test_a_stack_that_only_builds_has_no_cluster(self, capsys):
        assert cli.main(["node", "list", "--stack", "matrix"]) == 1
        assert "only builds images" in capsys.readouterr().err
