"""A person gets notebooks and an account in MLflow at once; what fails changes nothing, and is completed later."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded_engine.lock import LockedError
from ws import cli
from ws.errors import WsError
from ws.users import everywhere, people
from ws.users.accounts import OWN, Accounts, RefusedError

LOGINS = "    mlflow: {logins: true}\n"


class Mlflow:
    """The accounts of MLflow: name → password. None: it does not answer."""

    def __init__(self) -> None:
        self.known: dict[str, str] | None = {}

    def names(self) -> list[str]:
        if self.known is None:
            raise WsError("MLflow does not answer")
        return sorted(self.known)

    def add(self, name: str, password: str) -> None:
        assert self.known is not None
        assert name not in self.known
        self.known[name] = password

    def set_password(self, name: str, password: str) -> None:
        assert self.known is not None
        self.known[name] = password

    def remove(self, name: str) -> None:
        assert self.known is not None
        del self.known[name]


# What `ws user add` does one after the other, at each of which it may be killed.
STEPS = [
    (people, "rewrite", "before"),
    (people, "rewrite", "after"),
    (people, "token_of", "after"),
    (everywhere, "write_atomically", "after"),
    (Mlflow, "add", "after"),
    (everywhere, "told", "before"),
]


@pytest.fixture
def mlflow(file, monkeypatch):
    mlflow = Mlflow()
    monkeypatch.setattr(Accounts, "of", lambda _: mlflow)
    file.write_text(file.read_text() + LOGINS)
    return mlflow


def commands(added: str, removed: str) -> tuple[Callable[[], object], ...]:
    return (lambda: everywhere.add("dev", added, {}), lambda: everywhere.remove("dev", removed))


def people_in(file: Path) -> list[str]:
    users = yaml.safe_load(file.read_text())["config"]["cslr:platform"]["marimo"].get("users", [])
    return list(users)


def test_one_command_gives_both(file, mlflow):
    done = everywhere.add("dev", "alice", {})
    assert people_in(file) == ["alice"]
    assert mlflow.known == {"alice": done.password}
    assert len(done.password or "") >= 12
    assert not any(str(done.password) in line for line in done.lines)  # it is printed on stdout alone
    assert done.deploy


def test_an_account_that_is_there_keeps_its_password(file, mlflow):
    mlflow.known = {"alice": "hers-and-hers-alone"}
    done = everywhere.add("dev", "alice", {})
    assert done.password is None
    assert "its password stays" in done.lines[-1]
    assert mlflow.known == {"alice": "hers-and-hers-alone"}
    assert people_in(file) == ["alice"]


def test_who_has_only_notebooks_gets_the_account(file, mlflow):
    everywhere.add("dev", "alice", {})
    mlflow.known = {}
    before = file.read_text()
    done = everywhere.add("dev", "alice", {})
    assert done.password == mlflow.known["alice"]
    assert done.deploy  # the notebooks may be of a run that was killed
    assert file.read_text() == before


def test_an_account_alone_leaves_the_shared_notebooks_alone(file, mlflow):
    before = file.read_text()
    done = everywhere.add("dev", "alice", {}, own_notebooks=False)
    assert mlflow.known == {"alice": done.password}
    assert not done.deploy
    assert file.read_text() == before
    again = everywhere.add("dev", "alice", {}, own_notebooks=False)  # the first was killed before it said the password
    assert mlflow.known == {"alice": again.password}
    everywhere.told("dev", "alice")
    with pytest.raises(WsError, match="ws user password alice"):
        everywhere.add("dev", "alice", {}, own_notebooks=False)
    with pytest.raises(WsError, match="account of the platform itself"):
        everywhere.add("dev", "admin", {}, own_notebooks=False)


def test_an_account_alone_needs_logins(file):
    with pytest.raises(WsError, match=r"has no logins\. Turn them on: ws set mlflow\.logins true -s dev"):
        everywhere.add("dev", "alice", {}, own_notebooks=False)


def test_whose_notebooks_run_needs_no_deployment_for_the_account(file, mlflow, monkeypatch):
    everywhere.add("dev", "alice", {})
    mlflow.known = {}
    monkeypatch.setattr(people, "is_deployed", lambda *_: True)
    assert not everywhere.add("dev", "alice", {}).deploy


def test_who_has_both_is_refused(file, mlflow):
    everywhere.add("dev", "alice", {})
    everywhere.told("dev", "alice")
    with pytest.raises(WsError, match="alice has notebooks already"):
        everywhere.add("dev", "alice", {})
    with pytest.raises(WsError, match="ws user password alice"):
        everywhere.add("dev", "alice", {})


@pytest.mark.parametrize("name", OWN)
def test_accounts_of_the_platform_are_nobodys(file, mlflow, name):
    before = file.read_text()
    for command in commands(name, name):
        with pytest.raises(WsError, match=f"{name} is an account of the platform itself"):
            command()
    with pytest.raises(WsError, match="ws secrets rotate"):
        everywhere.password("dev", name, None)
    assert file.read_text() == before


def test_removal_takes_both(file, mlflow):
    everywhere.add("dev", "alice", {})
    assert everywhere.remove("dev", "alice").deploy
    assert (people_in(file), mlflow.known) == ([], {})


def test_removal_of_one_who_is_only_in_mlflow(file, mlflow):
    mlflow.known = {"guest": "secret-of-guest"}
    before = file.read_text()
    done = everywhere.remove("dev", "guest")
    assert "guest's account in MLflow is deleted" in done.lines[0]
    assert not done.deploy
    assert (file.read_text(), mlflow.known) == (before, {})


def test_nothing_is_changed_while_mlflow_does_not_answer(file, mlflow):
    everywhere.add("dev", "alice", {})
    before, mlflow.known = file.read_text(), None
    for command in commands("ben", "alice"):
        with pytest.raises(WsError, match="MLflow does not answer"):
            command()
    assert file.read_text() == before
    listed, problem = everywhere.found("dev")
    assert [(one.name, one.account) for one in listed] == [("alice", None)]
    assert "MLflow does not answer" in problem


@pytest.mark.parametrize("memory", [None, "2g"])
@pytest.mark.parametrize("step", STEPS)
def test_an_addition_that_was_killed_is_completed_by_the_same_command(file, mlflow, monkeypatch, capsys, step, memory):
    command = ["user", "add", "alice", *(["--memory", memory] if memory else [])]
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        assert cli.main(command) != 0
    capsys.readouterr()
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert mlflow.known == {"alice": said.splitlines()[-1]}
    assert people_in(file) == ["alice"]
    assert "Token: ws user token alice -s dev" in said
    assert "To apply it: ws up -s dev" in said
    assert cli.main(command) == 1
    assert "alice has notebooks already" in capsys.readouterr().err


@pytest.mark.parametrize("step", [(people, "rewrite"), (people, "_token_file"), (Mlflow, "remove")])
def test_a_removal_that_was_killed_is_completed_by_the_same_command(file, mlflow, monkeypatch, step):
    everywhere.add("dev", "alice", {})
    token = people.token("dev", "alice", renew=False)
    with monkeypatch.context() as patch:
        killed_at(patch, (*step, "after"))
        with pytest.raises(KeyboardInterrupt):
            everywhere.remove("dev", "alice")
    with contextlib.suppress(WsError):  # all was done
        everywhere.remove("dev", "alice")
    assert (people_in(file), mlflow.known) == ([], {})
    everywhere.add("dev", "alice", {})
    assert people.token("dev", "alice", renew=False) != token


def test_a_password_that_was_set_meanwhile_stays(file, mlflow, monkeypatch):
    with monkeypatch.context() as patch:
        killed_at(patch, (Mlflow, "add", "after"))
        with pytest.raises(KeyboardInterrupt):
            everywhere.add("dev", "alice", {})
    made = everywhere.password("dev", "alice", None)
    with pytest.raises(WsError, match="alice has notebooks already"):
        everywhere.add("dev", "alice", {})
    assert mlflow.known == {"alice": made}


@pytest.mark.parametrize("failure", [RefusedError("MLflow refuses (400)"), WsError("MLflow does not answer")])
def test_an_account_made_by_hand_keeps_its_password_where_no_other_can_be_there(file, mlflow, monkeypatch, failure):
    def failed(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Mlflow, "add", failed)
        with pytest.raises(WsError, match=re.escape(str(failure))):
            everywhere.add("dev", "alice", {}, own_notebooks=False)
    mlflow.known = {"alice": "chosen-by-hand"}
    if isinstance(failure, RefusedError):
        with pytest.raises(WsError, match="ws user password alice"):
            everywhere.add("dev", "alice", {}, own_notebooks=False)
        assert mlflow.known == {"alice": "chosen-by-hand"}
    else:  # it may be the one that the former command asked for
        assert mlflow.known == {"alice": everywhere.add("dev", "alice", {}, own_notebooks=False).password}


def killed_at(patch: pytest.MonkeyPatch, step: tuple[Any, str, str]) -> None:
    """Ends the command before or after a step of it."""
    owner, name, moment = step
    done = getattr(owner, name)

    def killed(*arguments: object, **options: object) -> None:
        if moment == "after":
            done(*arguments, **options)
        raise KeyboardInterrupt

    patch.setattr(owner, name, killed)


def test_one_command_at_a_time_adds_and_removes(file, mlflow, monkeypatch):
    monkeypatch.setattr(everywhere, "SECONDS", 0.1)

    def other(*_: object) -> None:
        for command in commands("ben", "alice"):
            with pytest.raises(LockedError, match="ws user add alice"):
                command()

    monkeypatch.setattr(Mlflow, "add", other)
    everywhere.add("dev", "alice", {})
    assert people_in(file) == ["alice"]


def test_the_list_has_everybody(file, mlflow):
    everywhere.add("dev", "alice", {})
    mlflow.known = {"guest": "secret-of-guest"}
    listed, problem = everywhere.found("dev")
    assert [(one.name, one.account) for one in listed] == [("alice", False), ("guest", True)]
    assert problem == ""


def test_another_password_is_made_or_given(file, mlflow):
    everywhere.add("dev", "alice", {})
    made = everywhere.password("dev", "alice", None)
    assert mlflow.known == {"alice": made}
    assert everywhere.password("dev", "alice", "a-chosen-password") is None
    assert mlflow.known == {"alice": "a-chosen-password"}
    with pytest.raises(WsError, match="Did you mean alice"):
        everywhere.password("dev", "alise", None)


def test_without_logins_there_are_only_notebooks(file):
    assert everywhere.add("dev", "alice", {}).password is None
    assert people_in(file) == ["alice"]
    with pytest.raises(WsError, match=r"ws set mlflow\.logins true"):
        everywhere.password("dev", "alice", None)
