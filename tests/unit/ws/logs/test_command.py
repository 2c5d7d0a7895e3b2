"""Options of `ws logs`, what it asks of Docker, and what it says at the end."""

import ast
import sys
import time
from pathlib import Path

import pytest
import typer

import ws.logs
from stack.identity import StackIdentity
from ws import cli
from ws.logs import command
from ws.logs.command import Read, check, parse_tail
from ws.logs.containers import Container, ContainerLog
from ws.logs.entry import Entry
from ws.logs.kinds import time_of
from ws.logs.query import Query
from ws.logs.ray_files import MODULES, Scratch, Summary, messages
from ws.logs.times import moment

IDENTITY = StackIdentity(project="cslr", stack="dev")


def container(service: str, **mounts: bool) -> Container:
    """One with volumes, by name: whether it may write."""
    return Container(
        service=service, node=f"a-{service}", identifier=service, image="sha256:1", user="1000:1000", zone="",
        mounts={f"/{name}": {"Type": "volume", "Name": name, "RW": writable} for name, writable in mounts.items()},
    )  # fmt: skip


class TestOptions:
    @pytest.mark.parametrize(
        ("text", "query", "lines"),
        [
            (None, Query(), 100), ("5", Query(), 5), ("0", Query(), 0), ("all", Query(), None),
            (None, Query(grep="x"), None), (None, Query(since=1.0), None), (None, Query(jobs=("x",)), None),
            ("7", Query(level="error"), 7), (None, Query(services=("redis",), sources=("x",)), 100),
        ],
    )  # fmt: skip
    def test_tail(self, text, query, lines):
        assert parse_tail(text, query) == lines

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--tail", "-1"], "is not a number of lines"),
            (["--level", "loud"], "is not a level; choose one of debug, info, warning, error, critical"),
            (["--grep", "(x"], "is not a regular expression"),
            (["--since", "yesterday"], "is neither a duration nor a time"),
        ],
    )
    def test_others_are_refused_in_a_sentence(self, arguments, said, capsys):
        assert cli.main(["logs", *arguments]) == 2
        assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())

    def test_a_query_survives_its_way_to_the_reader(self):
        query = Query(services=("a",), jobs=("x", "y"), grep="ü|\"'", since=1.5, tail=3, follow=True)
        assert Query.from_json(query.to_json()) == query

    def test_an_empty_query_is_in_order(self):
        check(Query())


class TestMoments:
    def test_a_duration_is_before_now(self):
        assert moment("1h30m") == pytest.approx(time.time() - 5400, abs=5)

    def test_a_time_is_local_unless_it_has_a_zone(self):
        assert moment("1970-01-01T01:00+01:00") == moment("1970-01-01 00:00:00") == 0.0  # TZ is UTC here

    def test_none_is_none(self):
        assert moment(None) is None

    @pytest.mark.parametrize("text", ["", "soon", "10 parsecs"])
    def test_others_are_refused(self, text):
        with pytest.raises(typer.BadParameter):
            moment(text)


class TestScratch:
    def test_is_read_as_a_container_that_writes_it(self):
        found = Scratch.of(IDENTITY, [container("health", scratch=False), container("marimo", scratch=True),
                                      container("ray-cpu", scratch=True), container("redis")])  # fmt: skip
        assert found is not None
        assert found.container.service == "ray-cpu"
        assert found.nodes["ray-cpu"] == "a-ray-cpu"

    def test_is_read_with_another_container_where_that_is_gone(self):
        found = Scratch.of(IDENTITY, [container("health", scratch=False), container("redis")])
        assert found is not None
        assert found.container.service == "health"

    def test_is_not_there_where_nothing_has_it(self):
        assert Scratch.of(IDENTITY, [container("redis")]) is None

    def test_the_reader_has_no_rights(self):
        scratch = Scratch.of(IDENTITY, [container("ray-cpu", scratch=True)])
        assert scratch is not None
        options = scratch._options(Query())
        assert (options["user"], options["network_mode"], options["cap_drop"]) == ("1000:1000", "none", ["ALL"])
        assert (options["cap_add"], options["security_opt"]) == ([], ["no-new-privileges:true"])
        assert [(mount["Source"], mount["ReadOnly"]) for mount in options["mounts"]] == [("scratch", True)]


class TestProgram:
    @pytest.mark.parametrize("module", MODULES)
    def test_of_the_reader_runs_in_any_image(self, module):
        """With Python 3.10 and nothing else installed."""
        tree = ast.parse(Path(ws.logs.__file__).with_name(f"{module}.py").read_text(), feature_version=(3, 10))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                own = name.removeprefix("ws.logs.") in MODULES
                assert own or name.partition(".")[0] in sys.stdlib_module_names, name


class TestMessages:
    ENTRY = Entry(1.0, "ray-cpu", "ray-cpu", "raylet.out", "", "", "info", "ü")

    def test_are_lines_however_they_come(self):
        data = f'{self.ENTRY.packed()}\n{{"read": {{}}, "left_out": 3, "problems": []}}\n'.encode()
        assert list(messages(iter([(1, data[:7]), (1, data[7:])]))) == [self.ENTRY, Summary(left_out=3)]

    @pytest.mark.parametrize(
        ("frames", "reason"),
        [([(2, b"sh: python3:"), (2, b" not found\n")], "sh: python3: not found"), ([], "their reader was killed")],
    )
    def test_a_reader_that_failed_is_told(self, frames, reason):
        assert list(messages(iter(frames))) == [Summary(problems=[f"Ray's log files could not be read: {reason}"])]


class FakeDocker:
    """Docker's log of one container."""

    def __init__(self, lines: list[str]) -> None:
        self.api = self
        self._lines = [f"2026-11-28T03:00:{number:02}.000000001Z {line}\n" for number, line in enumerate(lines)]

    def logs(self, _identifier, *, stream=False, tail="all", timestamps=False, **_):
        kept = self._lines if tail == "all" else self._lines[len(self._lines) - min(tail, len(self._lines)) :]
        text = "".join(line if timestamps else line.partition(" ")[2] for line in kept).encode()
        return iter([text[:10], text[10:]]) if stream else text


class TestContainers:
    LINES = ("a", 'INFO: x - "GET /health HTTP/1.1" 200 OK', "b", 'INFO: x - "GET /health HTTP/1.1" 200 OK', "c")

    @pytest.mark.parametrize(("tail", "texts", "left_out"), [(2, ["b", "c"], 1), (9, ["a", "b", "c"], 0), (0, [], 0)])
    def test_a_tail_does_not_count_health_checks(self, tail, texts, left_out):
        log = ContainerLog(container("redis"), FakeDocker(list(self.LINES)), probes=False)
        assert [entry.text for entry in log.entries(Query(tail=tail))] == texts
        assert log.left_out == left_out

    def test_a_filter_looks_at_all_of_it(self):
        log = ContainerLog(container("redis"), FakeDocker(list(self.LINES)), probes=True)
        found = list(log.entries(Query(tail=1, grep="a|GET")))
        assert [entry.text[:1] for entry in found] == ["a", "I", "I"]
        assert found[0].time == time_of("2026-11-28T03:00:00Z")


class TestLastMessage:
    def test_says_what_was_read_and_what_is_left_out(self):
        read = Read(services=["redis"])
        read.add(Summary(read={"ray-cpu": {"session_a": 2, "session_b": 3}}, left_out=1234, problems=["x: denied"]))
        assert list(read.sentences()) == [
            "Read Docker's logs of redis.",
            "Read 5 files of Ray of 2 sessions of ray-cpu.",
            "Left out 1,234 earlier lines; --tail N or --tail all shows them.",
        ]
        assert read.hints == ["x: denied"]

    def test_says_that_nothing_was_read(self):
        assert list(Read().sentences()) == ["Read nothing: no log matches the options."]


class TestMatches:
    @pytest.fixture(autouse=True)
    def host(self, monkeypatch, tmp_path) -> None:
        """Redis and a Ray node, whose containers say one line."""
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setattr(command, "DockerApi", lambda: None)
        monkeypatch.setattr(command, "of_stack", lambda *_: [container("redis"), container("ray-cpu")])
        monkeypatch.setattr("docker.from_env", lambda **_: FakeDocker(["Ready to accept connections"]))

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ([], 0), (["--grep", "Ready"], 0), (["--grep", "nothing of the kind"], 1), (["--tail", "0"], 0),
            (["--level", "error"], 1), (["--node", "a-ray-*"], 0), (["--source", "raylet*"], 1),
        ],
    )  # fmt: skip
    def test_none_is_1_as_of_grep_and_is_said(self, capsys, options, code):
        assert cli.main(["logs", *options]) == code
        said = capsys.readouterr()
        assert ("No entry matches the options." in said.err) == bool(code)

    def test_none_of_a_host_is_1_too(self, monkeypatch):
        asked = []
        monkeypatch.setattr(command, "show_logs", lambda *_, hosts, **__: asked.append(hosts))
        assert [cli.main(["logs", *options]) for options in ([], ["--host", "b", "--host", "c"])] == [0, 1]
        assert asked == [(), ("b", "c")]

    @pytest.mark.parametrize("node", ["b-ray-cpu", "b-*"])
    def test_a_node_that_is_not_there_is_refused_with_those_that_are(self, capsys, node):
        assert cli.main(["logs", "--node", node]) == 1
        said = " ".join(capsys.readouterr().err.split())
        assert f"stack dev has no node {node} on this host. It has: a-ray-cpu." in said

    def test_a_node_that_was_taken_out_may_have_left_files(self, capsys):
        assert cli.main(["logs", "--node", "ray-gpu"]) == 1
        assert "No entry matches" in capsys.readouterr().err
