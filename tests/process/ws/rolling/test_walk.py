"""`ws cluster up` on hosts that a made-up `ssh` stands for: it runs the command in a folder of this machine."""

import io
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from embedded_engine.lock import LockedError, stack_lock
from stack.identity import StackIdentity
from stack.state import stack_folder
from testing.live.deployment import wait_until
from ws.errors import WsError
from ws.rolling.ssh import OPTIONS, Remote
from ws.rolling.walk import Walk

HOSTS = ("alpha", "beta", "gamma")
SSH = """
import os, sys
if os.path.exists(os.path.join({root!r}, "banner")):
    sys.stderr.buffer.write(b"Zutritt nur f\\xfcr Befugte\\n")
    sys.stderr.flush()
*options, destination, command = sys.argv[1:]
assert options == {options!r}, options
if os.path.exists(os.path.join({root!r}, "off", destination)):
    print("ssh: connect to host " + destination + " port 22: No route to host", file=sys.stderr)
    sys.exit(255)
os.execvp("sh", ["sh", "-c", command])
"""
WS = """
import json, pathlib, sys
root, stack, words = pathlib.Path({root!r}), sys.argv[-1], sys.argv[1:-2]
assert sys.argv[-2] == "--stack"
if words[:2] == ["head", "show"]:
    leader = (root / "leader").read_text()
    print(json.dumps({{"head": {{"host": leader}} if leader else None}}))
elif words[0] == "ps" and (root / "no-docker" / stack).exists():
    reason = (root / "no-docker" / stack).read_text()
    print(reason, end="", file=sys.stderr)
    sys.exit(1)
elif words[0] == "up":
    assert words.pop() == "--followed"
    with (root / "ran").open("a") as file:
        file.write(json.dumps([stack, *words]) + "\\n")
    print("node 1 of 1", flush=True)
    if (root / "long" / stack).exists():
        while line := sys.stdin.readline():  # until nobody follows
            (root / "beats").open("a").write(line)
        print("node 1 of 1 is whole", flush=True)
    if (root / "cut" / stack).exists():
        sys.exit(255)
    sys.exit(1 if (root / "broken" / stack).exists() else 0)
"""


class Hosts:
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.output = root, io.StringIO()
        for folder in ("off", "broken", "no-docker", "long", "cut", "path", "there/bin"):
            (root / folder).mkdir(parents=True)
        self.program(root / "path" / "ssh", SSH.format(options=[*OPTIONS, "--"], root=str(root)))
        self.program(root / "there" / "bin" / "ws", WS.format(root=str(root)))
        monkeypatch.setenv("PATH", f"{root / 'path'}:{os.environ['PATH']}")
        monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
        self.lead("beta")
        ssh = {"folder": str(root / "there")}
        # Addresses of documentation, which no machine has.
        hosts = {name: {"address": f"203.0.113.{number}", "ssh": ssh} for number, name in enumerate(HOSTS, 1)}
        hosts["gamma"]["ssh"] = {**ssh, "destination": "ops@gamma", "stack": "lab-gamma"}
        self.file = root / "cluster.yaml"
        self.file.write_text(yaml.safe_dump({"name": "lab", "hosts": hosts, "redis": {"host": "gamma"}}))

    @staticmethod
    def program(path: Path, source: str) -> None:
        path.write_text(f"#!{sys.executable}\n{source}")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def lead(self, host: str) -> None:
        (self.root / "leader").write_text(host)

    def walk(self, *options: str) -> Walk:
        return Walk.of(self.file, options, Console(file=self.output, width=300))

    @property
    def ran(self) -> list[list[str]]:
        file = self.root / "ran"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    return Hosts(tmp_path, monkeypatch)


def test_each_host_has_its_turn_and_the_head_is_last(hosts):
    hosts.walk("--drain", "5m").run()
    command = ["up", "--rolling", "--drain", "5m"]
    assert hosts.ran == [["alpha", *command], ["lab-gamma", *command], ["beta", *command]]
    assert "alpha | node 1 of 1" in hosts.output.getvalue()


def test_the_first_failure_ends_it_and_says_how_to_go_on(hosts):
    (hosts.root / "broken" / "lab-gamma").touch()
    with pytest.raises(WsError, match=r"Stopped at gamma \(exit code 1\).*not reached: beta\.\n.*ssh ops@gamma .*ps"):
        hosts.walk().run()
    assert [stack for stack, *_ in hosts.ran] == ["alpha", "lab-gamma"]
    shown = hosts.output.getvalue()
    assert [word in shown for word in ("done", "failed", "not reached")] == [True] * 3


def test_without_a_way_to_every_host_nothing_is_changed_and_the_commands_are_printed(hosts):
    (hosts.root / "off" / "203.0.113.1").touch()
    with pytest.raises(WsError, match=r"Nothing was changed(.|\n)*alpha: ssh: connect .* No route to host"):
        hosts.walk().run()
    assert hosts.ran == []
    assert hosts.output.getvalue().count("bin/ws up --rolling --stack") == len(HOSTS)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "Docker does not answer: refused\n  Run `ws doctor`.\n",
            "alpha: Docker does not answer: refused Run `ws doctor`.",
        ),
        ("\n", "alpha: exit code 1"),
    ],
)
def test_what_a_host_says_itself_is_shown_whole(hosts, said, expected):
    (hosts.root / "no-docker" / "alpha").write_text(said)
    with pytest.raises(WsError) as refused:
        hosts.walk().run()
    assert expected in str(refused.value)


def test_a_banner_may_be_in_any_encoding(hosts):
    (hosts.root / "banner").touch()
    hosts.walk().run()
    assert [stack for stack, *_ in hosts.ran] == ["alpha", "lab-gamma", "beta"]
    assert "alpha | Zutritt nur f\N{REPLACEMENT CHARACTER}r Befugte" in hosts.output.getvalue()


def test_an_interrupt_lets_the_run_end_in_good_order_and_says_where_it_stood(hosts, monkeypatch):
    (hosts.root / "long" / "lab-gamma").touch()
    said = Walk._said_by

    def said_by(walk: Walk, host: Remote) -> Callable[[str], None]:
        def interrupt(line: str) -> None:
            said(walk, host)(line)
            if (host.name, line) == ("gamma", "node 1 of 1"):
                raise KeyboardInterrupt

        return interrupt

    monkeypatch.setattr(Walk, "_said_by", said_by)
    with pytest.raises(KeyboardInterrupt):
        hosts.walk("--drain", "5m").run()
    shown = hosts.output.getvalue()
    assert "gamma | node 1 of 1 is whole" in shown, "its last lines are shown"
    assert shown.index("Its run there ends by itself, after the node in work") < shown.index("is whole")
    assert "Interrupted at gamma. Hosts not reached: beta.\n  Look at it there:  ssh ops@gamma " in shown
    assert f"ws cluster up --cluster {hosts.file} --drain 5m" in shown
    assert [stack for stack, *_ in hosts.ran] == ["alpha", "lab-gamma"]


def test_a_run_hears_that_it_is_followed(hosts, monkeypatch):
    (hosts.root / "long" / "lab-gamma").touch()
    beats = hosts.root / "beats"
    monkeypatch.setattr("ws.rolling.ssh.BEAT_SECONDS", 0.01)

    def end(_walk: Walk, _host: Remote) -> Callable[[str], None]:
        def interrupt(line: str) -> None:
            if line == "node 1 of 1" and (hosts.root / "ran").read_text().count("\n") > 1:
                wait_until(beats.exists, "a beat", 30)
                raise KeyboardInterrupt

        return interrupt

    monkeypatch.setattr(Walk, "_said_by", end)
    with pytest.raises(KeyboardInterrupt):
        hosts.walk().run()
    assert beats.read_text().startswith("\n")


def test_a_lost_connection_says_on_which_host_and_how_to_go_on(hosts):
    (hosts.root / "cut" / "lab-gamma").touch()
    with pytest.raises(WsError, match=r"The connection to gamma ended\. Its run there ends by itself") as stopped:
        hosts.walk().run()
    assert [words in str(stopped.value) for words in ("ssh ops@gamma ", "ws cluster up --cluster ")] == [True] * 2


def test_a_stack_may_have_the_name_of_a_cluster(hosts):
    others = StackIdentity(project="cslr", stack="cluster-lab")
    with stack_lock(stack_folder(others), others.stack):
        hosts.walk().run()


def test_without_ssh_the_reason_is_told(hosts, monkeypatch):
    monkeypatch.setenv("PATH", str(hosts.root / "there"))
    with pytest.raises(WsError, match="ssh, is not installed here"):
        hosts.walk().run()


def test_printed_commands_are_in_the_order_and_run_nothing(hosts):
    hosts.walk().show_commands()
    folder = hosts.root / "there"
    assert hosts.output.getvalue().splitlines() == [
        f"ssh 203.0.113.1 'cd {folder} && bin/ws up --rolling --stack alpha'",
        f"ssh ops@gamma 'cd {folder} && bin/ws up --rolling --stack lab-gamma'",
        f"ssh 203.0.113.2 'cd {folder} && bin/ws up --rolling --stack beta'",
    ]
    assert hosts.ran == []


def test_without_a_head_the_order_is_that_of_the_file_and_it_says_so(hosts):
    hosts.lead("")
    hosts.walk().run()
    assert [stack for stack, *_ in hosts.ran] == ["alpha", "beta", "lab-gamma"]
    assert "No host says which one leads" in hosts.output.getvalue()


def test_two_do_not_walk_at_once(hosts, monkeypatch):
    first, second = hosts.walk(), hosts.walk()
    errors: list[Exception] = []

    def also(*_: object) -> None:
        with pytest.raises(LockedError) as refused:
            second.run()
        errors.append(refused.value)

    monkeypatch.setattr(Walk, "_walk", also)
    first.run()
    assert "another rolling replacement of a cluster" in str(errors[0])


def test_a_missing_file_is_named(hosts):
    with pytest.raises(WsError, match=r"other\.yaml: there is no such cluster file.\n.*--cluster FILE"):
        Walk.of(hosts.root / "other.yaml", (), Console(file=hosts.output))


def test_no_destination_is_taken_for_an_option_of_ssh(hosts):
    text = hosts.file.read_text().replace("ops@gamma", "-oProxyCommand=x")
    hosts.file.write_text(text)
    with pytest.raises(Exception, match="destination"):
        hosts.walk()


def test_on_this_machine_no_ssh_is_needed(hosts, monkeypatch):
    monkeypatch.setattr("ws.rolling.ssh.source_address", lambda address: address)
    (hosts.root / "path" / "ssh").unlink()
    hosts.walk().run()
    assert [stack for stack, *_ in hosts.ran] == ["alpha", "lab-gamma", "beta"]
