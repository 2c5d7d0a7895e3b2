"""entrypoints/keeper.py: which containers it restarts and when, and how it speaks to Docker."""

import json
import os
import signal
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import pytest

from contracts.document import SETTINGS_VARIABLE, dump, load
from contracts.exporter import ContainerList
from contracts.keeper import KeeperSettings, Look
from entrypoints import keeper
from entrypoints.keeper import Engine, EngineError, Keeper, Policy, Told

STACK = {"cslr.project": "cslr", "cslr.stack": "dev"}
UNHEALTHY = {"redis": "1"}
NONE: dict[str, str] = {}
# Health → how the Engine's listing words it.
STATUS = {health: f"Up 2 minutes ({health})" for health in ("healthy", "unhealthy")}
STATUS["starting"] = "Up 2 seconds (health: starting)"


def restarts_of(
    policy: Policy, begin: float, seconds: float, health: Callable[[float, list[float]], str]
) -> list[float]:
    """Looks every 5 s at one container whose health at a time `health` tells; when it was restarted."""
    times: list[float] = []
    now = begin
    while now < begin + seconds:
        state = health(now, times)
        restart, _ = policy.decide(now, UNHEALTHY if state == "bad" else NONE, UNHEALTHY if state == "good" else NONE)
        if restart:
            times.append(now)
        now += keeper.LOOK_SECONDS
    return times


class TestPolicy:
    def test_lets_a_short_weakness_pass(self):
        policy = Policy()
        assert policy.decide(100, UNHEALTHY, NONE) == ([], [])
        assert policy.decide(105, NONE, UNHEALTHY) == ([], [])
        assert policy.decide(112, UNHEALTHY, NONE) == ([], [])

    def test_restarts_what_stays_unhealthy(self):
        policy = Policy()
        policy.decide(100, UNHEALTHY, NONE)
        assert policy.decide(110, UNHEALTHY, NONE) == (["redis"], [])
        assert policy.restarts("redis") == 1

    def test_waits_twice_as_long_each_time_and_gives_up(self):
        times = restarts_of(Policy(), 100, 3000, lambda *_: "bad")
        waits = [after - before for before, after in pairwise(times)]
        # One look later than the wait, since it counts from when the container is seen unhealthy again.
        assert waits == [25, 45, 85, 165]
        assert len(times) == keeper.LIMIT

    def test_says_once_that_it_gives_up(self):
        policy = Policy()
        said = [name for now in range(100, 9000, 5) for name in policy.decide(now, UNHEALTHY, NONE)[1]]
        assert said == ["redis"]

    def test_does_not_go_on_by_itself_after_giving_up(self):
        assert len(restarts_of(Policy(), 100, 4 * keeper.WINDOW, lambda *_: "bad")) == keeper.LIMIT

    def test_begins_anew_after_ten_healthy_minutes(self):
        policy = Policy()
        assert len(restarts_of(policy, 100, 1000, lambda *_: "bad")) == keeper.LIMIT
        assert restarts_of(policy, 1100, 605, lambda *_: "good") == []
        assert restarts_of(policy, 1705, 30, lambda *_: "bad") == [1715]

    def test_less_than_ten_healthy_minutes_are_not_enough(self):
        policy = Policy()
        assert len(restarts_of(policy, 100, 1000, lambda *_: "bad")) == keeper.LIMIT
        assert restarts_of(policy, 1100, 590, lambda *_: "good") == []
        assert restarts_of(policy, 1690, 600, lambda *_: "bad") == []

    def test_weakness_now_and_then_is_never_given_up(self):
        """One restart each quarter of an hour, and well again in between for less than ten minutes."""

        def health(now: float, times: list[float]) -> str:
            if not times or times[-1] < now - now % 900:
                return "bad"
            return "good" if now - times[-1] < 300 else "starting"

        assert len(restarts_of(Policy(), 900, 10 * 900, health)) == 10

    def test_a_new_container_of_the_same_name_has_no_history(self):
        policy = Policy()
        restarts_of(policy, 100, 1000, lambda *_: "bad")
        policy.decide(1100, {"redis": "2"}, NONE)
        assert policy.decide(1110, {"redis": "2"}, NONE) == (["redis"], [])

    def test_starting_is_neither(self):
        policy = Policy()
        policy.decide(100, UNHEALTHY, NONE)
        policy.decide(105, NONE, NONE)
        assert policy.decide(112, UNHEALTHY, NONE) == ([], []), "unhealthy since 112, not since 100"

    def test_longest_wait_is_five_minutes(self):
        assert keeper.History("1", restarts=[0.0] * 9).wait() == 300


class FakeDocker(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """As much of the Docker Engine as the keeper asks, on a Unix socket."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.health: dict[str, str] = {}  # container → healthy, unhealthy, starting
        self.labels: dict[str, dict[str, str]] = {}
        self.paused: set[str] = set()
        self.states: dict[str, str] = {}  # of those that do not run
        self.restarted: list[str] = []
        self.filters: list[dict[str, list[str]]] = []
        self.refuse = False
        self.status = "running"  # of each
        self.hold = threading.Event()
        self.hold.set()

    def add(self, name: str, health: str, **labels: str) -> None:
        self.health[name] = health
        self.labels[name] = {**STACK, "cslr.component": name, **{f"cslr.{k}": v for k, v in labels.items()}}

    def list(self, filters: dict[str, list[str]]) -> list[dict[str, object]]:
        self.filters.append(filters)
        wanted = dict(label.split("=", 1) for label in filters["label"])
        return [
            {
                "Names": [f"/{name}"],
                "Id": f"id-{name}",
                "Labels": self.labels[name],
                "Image": "sha256:1",
                "State": self.states.get(name, "running"),
                "Status": STATUS.get(health, health),
                "HostConfig": {"NetworkMode": "host" if name == "firewall" else "bridge"},
            }
            for name, health in self.health.items()
            if [health] == filters.get("health", [health])
            and self.states.get(name, "running") in filters.get("status", [*self.states.values(), "running"])
            and wanted.items() <= self.labels[name].items()
            and name not in self.paused
        ]


class Handler(BaseHTTPRequestHandler):
    server: FakeDocker

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/containers/json":
            self.answer(200, self.server.list(json.loads(parse_qs(parts.query)["filters"][0])))
        else:
            checks = [{"Output": "old"}, {"Output": "port 6379:\nconnection refused " + "x" * 500}]
            self.answer(200, {"State": {"Status": self.server.status, "Health": {"Log": checks}}})

    def do_POST(self) -> None:
        self.server.hold.wait(10)
        if self.server.refuse:
            self.answer(500, {"message": "cannot stop container"})
            return
        self.server.restarted.append(self.path)
        self.answer(204, None)

    def answer(self, status: int, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def docker(tmp_path):
    server = FakeDocker(str(tmp_path / "docker.sock"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def kept(docker, tmp_path) -> Keeper:
    return Keeper(Engine(str(tmp_path / "docker.sock"), STACK, "keeper"), keeper.HEARTBEAT)


def look(kept: Keeper, *times: float) -> None:
    for now in times:
        kept.look(now)
        kept.wait()


class TestListing:
    """What the exporter reads."""

    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / "containers.json"

    @pytest.fixture
    def listing(self, docker, tmp_path, file) -> Keeper:
        engine = Engine(str(tmp_path / "docker.sock"), STACK, "keeper")
        return Keeper(engine, keeper.HEARTBEAT, Told(file))

    def test_has_every_running_container_of_the_stack(self, docker, listing, file):
        for name, health in (("redis", "healthy"), ("keeper", "healthy"), ("firewall", "starting")):
            docker.add(name, health)
        docker.add("other", "healthy", stack="prod")
        docker.add("mlflow", "Exited (1) 2 minutes ago")
        docker.states["mlflow"] = "exited"
        look(listing, 100)
        found = load(ContainerList, file.read_text()).containers
        assert {one.service: one.host_network for one in found} == {"redis": False, "keeper": False, "firewall": True}
        assert file.stat().st_mode & 0o777 == 0o644

    def test_is_written_only_when_it_changes(self, docker, listing, file):
        docker.add("redis", "healthy")
        look(listing, 100)
        file.unlink()
        look(listing, 105)
        assert not file.exists()
        docker.add("mlflow", "healthy")
        look(listing, 110)
        assert len(load(ContainerList, file.read_text()).containers) == 2

    def test_that_could_not_be_written_is_written_as_soon_as_it_can_be(self, docker, tmp_path, capsys):
        engine = Engine(str(tmp_path / "docker.sock"), STACK, "keeper")
        folder = tmp_path / "told"
        keeping = Keeper(engine, keeper.HEARTBEAT, Told(folder / "containers.json"), Told(folder / "look.json"))
        docker.add("redis", "healthy")
        look(keeping, 100, 105)
        assert capsys.readouterr().out.count("cannot be written: No such file or directory") == 2
        folder.mkdir()
        os.mkfifo(folder / "look.draft")
        look(keeping, 110)
        assert len(load(ContainerList, (folder / "containers.json").read_text()).containers) == 1
        assert load(Look, (folder / "look.json").read_text()).services == {"redis": "healthy"}

    def test_that_cannot_be_written_keeps_nobody_from_being_restarted(self, docker, tmp_path, capsys):
        engine = Engine(str(tmp_path / "docker.sock"), STACK, "keeper")
        docker.add("redis", "unhealthy")
        look(Keeper(engine, keeper.HEARTBEAT, Told(tmp_path / "nowhere/containers.json")), 100, 110)
        assert docker.restarted == ["/containers/id-redis/restart"]
        assert "cannot be written" in capsys.readouterr().out


class TestLook:
    """What the health service reads."""

    @pytest.fixture
    def file(self, tmp_path):
        return tmp_path / "look.json"

    @pytest.fixture
    def looking(self, docker, tmp_path, file) -> Keeper:
        engine = Engine(str(tmp_path / "docker.sock"), STACK, "keeper")
        return Keeper(engine, keeper.HEARTBEAT, look=Told(file))

    def test_says_how_every_container_is_and_when_that_was(self, docker, looking, file):
        for name, health in (("redis", "healthy"), ("mlflow", "unhealthy"), ("ray-cpu", "starting")):
            docker.add(name, health)
        docker.add("firewall", "Exited (137) 2 minutes ago")
        docker.states["firewall"] = "exited"
        docker.add("plain", "Up 2 minutes")
        before = time.monotonic()
        look(looking, 100)
        found = load(Look, file.read_text())
        assert found.services == {
            "redis": "healthy",
            "mlflow": "unhealthy",
            "ray-cpu": "starting",
            "firewall": "exited",
            "plain": "running",
        }
        assert before <= found.time <= time.monotonic()

    def test_is_written_again_before_anyone_takes_it_for_old(self, docker, looking, file, monkeypatch):
        docker.add("redis", "healthy")
        look(looking, 100)
        file.unlink()
        look(looking, 105)
        assert not file.exists()
        monkeypatch.setattr(keeper, "TELL_SECONDS", 0.0)
        look(looking, 110)
        assert file.exists()

    def test_of_a_service_with_two_containers_is_of_the_one_that_runs(self):
        entries = [
            {"State": state, "Status": status, "Labels": {"cslr.component": "redis"}}
            for state, status in (("running", "Up 2 minutes (healthy)"), ("exited", "Exited (0) 2 minutes ago"))
        ]
        assert keeper.states(entries) == keeper.states(entries[::-1]) == {"redis": "healthy"}


class TestWithDocker:
    def test_restarts_an_unhealthy_container_and_says_why_in_one_line(self, docker, kept, capsys):
        docker.add("redis", "unhealthy")
        look(kept, 100, 110)
        assert docker.restarted == ["/containers/id-redis/restart"]
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("[keeper] redis is unhealthy (port 6379: connection refused xxx")
        assert line.endswith("…): restart 1 of at most 5")

    def test_leaves_alone_what_is_not_unhealthy(self, docker, kept):
        docker.add("redis", "healthy")
        docker.add("mlflow", "starting")
        look(kept, 100, 110, 120)
        assert docker.restarted == []

    def test_leaves_alone_what_is_not_its_stacks(self, docker, kept):
        docker.add("other", "unhealthy", stack="prod")
        docker.add("theirs", "unhealthy", project="else")
        look(kept, 100, 110, 120)
        assert docker.restarted == []

    def test_asks_only_for_running_containers_so_that_paused_and_stopped_ones_stay(self, docker, kept):
        look(kept, 100)
        assert docker.filters
        assert all(filters["status"] == ["running"] for filters in docker.filters)

    def test_does_not_restart_itself(self, docker, kept):
        docker.add("keeper", "unhealthy")
        look(kept, 100, 110, 120)
        assert docker.restarted == []

    def test_slow_stop_of_one_holds_up_no_other(self, docker, kept):
        docker.add("slow", "unhealthy")
        docker.hold.clear()
        kept.look(100)
        kept.look(110)
        docker.add("redis", "unhealthy")
        docker.hold.set()
        look(kept, 115, 125)
        assert sorted(docker.restarted) == ["/containers/id-redis/restart", "/containers/id-slow/restart"]

    def test_what_is_being_restarted_is_not_restarted_again(self, docker, kept):
        docker.add("slow", "unhealthy")
        docker.hold.clear()
        for now in (100, 110, 120, 170):
            kept.look(now)
        docker.hold.set()
        kept.wait()
        assert docker.restarted == ["/containers/id-slow/restart"]

    def test_a_refusal_is_said_and_counts(self, docker, kept, capsys):
        docker.add("redis", "unhealthy")
        docker.refuse = True
        look(kept, *range(100, 800, 5))
        said = capsys.readouterr().out
        assert said.count("could not be restarted, which is tried again: Docker answered 500") == keeper.LIMIT
        assert said.count("giving up. Its log says why; `ws up` restarts it.") == 1

    def test_what_was_stopped_and_did_not_start_is_tried_again_until_it_runs(self, docker, kept, capsys):
        docker.add("ray-gpu", "unhealthy")
        docker.refuse = True
        look(kept, 100, 110)
        assert "ray-gpu could not be restarted, which is tried again: Docker answered 500" in capsys.readouterr().out
        del docker.health["ray-gpu"]  # among what runs
        docker.status, docker.refuse = "exited", False
        look(kept, 120, 125, 170)
        assert docker.restarted == ["/containers/id-ray-gpu/restart"]
        docker.status = "running"
        look(kept, 180, 400, 700)
        assert len(docker.restarted) == 1

    def test_docker_that_does_not_answer_is_one_sentence(self, tmp_path):
        with pytest.raises(EngineError, match=r"Docker does not answer at .*nowhere"):
            Engine(str(tmp_path / "nowhere"), STACK, "keeper").containers("unhealthy")


class TestHealth:
    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def test_is_bad_before_the_first_look(self, capsys):
        assert keeper.health() == 1
        assert "does Docker answer?" in capsys.readouterr().out

    def test_is_good_after_a_look(self, docker, kept):
        look(kept, 100)
        assert keeper.health() == 0

    def test_is_bad_when_the_last_look_is_long_ago(self, docker, kept, monkeypatch):
        look(kept, 100)
        later = time.monotonic() + keeper.STALE_SECONDS + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert keeper.health() == 1


class TestRun:
    def test_ends_when_docker_is_silent_so_that_a_new_start_finds_its_new_socket(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(keeper, "SILENCE_SECONDS", 0.05)
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        settings = KeeperSettings(project="cslr", stack="dev", service="keeper", socket=tmp_path / "nowhere")
        assert keeper.run({SETTINGS_VARIABLE: dump(settings)}) == 1
        assert capsys.readouterr().out.count("Docker does not answer") == 1
