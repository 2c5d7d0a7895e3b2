"""MLflow's cache of rights, in front of lookups as MLflow 3.17.2 has them (tests/live has MLflow)."""

import asyncio
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.routing import Match, Mount

from entrypoints import mlflow_rights


class TTLCache(dict[Any, Any]):
    """As cachetools' is made; time does not pass in it."""

    def __init__(self, maxsize: int, ttl: float) -> None:
        assert (maxsize, ttl) == (mlflow_rights.ENTRIES, 60)
        super().__init__()


class Store:
    """As much of MLflow's as says and changes who may do what."""

    def __init__(self) -> None:
        self.grants: list[str] = []
        self.asked: list[str] = []
        self.on_the_way: Callable[[], None] = lambda: None

    def get_user(self, username: str) -> str:
        self.asked.append("user")
        if username == "nobody":
            raise KeyError(username)
        return username

    def list_grants(self, user_id: int, workspace: str, resource_types: frozenset[str]) -> list[str]:
        self.asked.append("grants")
        found = list(self.grants)
        self.on_the_way()
        return found

    def list_users(self) -> list[str]:
        return []

    def grant_user_permission(self, permission: str) -> None:
        self.grants.append(permission)

    def delete_role(self) -> None:
        raise ValueError("half done")

    def update_user(self, username: str, *, password: str) -> None:
        pass


def worker(tmp_path, store: Store, *, workspaces: bool = False) -> Any:
    auth: Any = ModuleType("auth")
    auth.MLFLOW_ENABLE_WORKSPACES = SimpleNamespace(get=lambda: workspaces)
    auth.TTLCache, auth.store, auth.runs = TTLCache, store, []
    auth._USER_AUTH_CACHE, auth._USER_AUTH_CACHE_LOCK = {}, threading.Lock()

    def _run_requirement(run_id: str, action: str) -> tuple[str, list[str]] | None:
        auth.runs.append(run_id)
        return None if run_id == "gone" else ("experiment", [action])

    def _authenticate_cached(username: str, password: str) -> bool:
        return (username, password) in auth._USER_AUTH_CACHE

    auth._run_requirement, auth._authenticate_cached = _run_requirement, _authenticate_cached
    mlflow_rights.remember(auth, tmp_path)
    return auth


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def auth(tmp_path, store) -> Any:
    return worker(tmp_path, store)


def grants(auth: Any, *types: str, user: int = 1) -> list[str]:
    return list(auth.store.list_grants(user, "default", set(types)))


def test_each_question_is_asked_once(auth, store):
    for _ in range(3):
        assert auth.store.get_user("alice") == "alice"
        assert grants(auth, "run", "experiment") == grants(auth, "experiment", "run") == []
        assert auth._run_requirement("r", "read") == ("experiment", ["read"])
    assert (store.asked, auth.runs) == (["user", "grants"], ["r"])


def test_answers_for_others_are_others(auth, store):
    grants(auth, "run")
    grants(auth, "run", user=2)
    grants(auth, "experiment")
    assert store.asked == ["grants"] * 3
    assert auth._run_requirement("r", "update") != auth._run_requirement("r", "read")


def test_what_a_caller_adds_is_not_kept(auth):
    auth._run_requirement("r", "read")[1].append("more")
    assert auth._run_requirement("r", "read") == ("experiment", ["read"])


def test_what_is_not_found_is_asked_again(auth, store):
    for _ in range(2):
        assert auth._run_requirement("gone", "read") is None
        with pytest.raises(KeyError):
            auth.store.get_user("nobody")
    assert (store.asked, auth.runs) == (["user"] * 2, ["gone"] * 2)


def test_a_change_is_known_to_all_workers_at_once(auth, tmp_path):
    other = worker(tmp_path, Store())
    other.store.grants = auth.store.grants
    assert grants(auth, "run") == grants(other, "run") == []
    auth.store.grant_user_permission("EDIT")
    assert grants(auth, "run") == grants(other, "run") == ["EDIT"]


def test_a_change_that_fails_counts_too(auth, store):
    grants(auth, "run")
    with pytest.raises(ValueError, match="half done"):
        auth.store.delete_role()
    grants(auth, "run")
    assert store.asked == ["grants"] * 2


def test_a_question_changes_nothing(auth, store):
    grants(auth, "run")
    auth.store.list_users()
    grants(auth, "run")
    assert store.asked == ["grants"]


def test_an_answer_from_before_a_change_is_not_kept(auth, store):
    store.on_the_way = lambda: auth.store.grant_user_permission("DENY")
    assert grants(auth, "run") == []
    store.on_the_way = lambda: None
    assert grants(auth, "run") == ["DENY"]


def test_a_changed_account_logs_in_anew_in_all_workers(auth, tmp_path):
    other = worker(tmp_path, Store())
    for each in (auth, other):
        each._USER_AUTH_CACHE["alice", "former"] = "alice"
        assert each._authenticate_cached("alice", "former")
    auth.store.grant_user_permission("EDIT")  # concerns no login
    assert other._authenticate_cached("alice", "former")
    auth.store.update_user("alice", password="another")
    assert not other._authenticate_cached("alice", "former")


@pytest.mark.parametrize("name", ["get_user", "list_grants"])
def test_a_store_with_other_lookups_is_left_alone(tmp_path, store, name, monkeypatch):
    monkeypatch.setattr(Store, name, lambda self, name, of=None: name)
    with pytest.raises(TypeError, match="takes other parameters"):
        worker(tmp_path, store)
    assert vars(store).keys() == {"grants", "asked", "on_the_way"}


def test_with_workspaces_nothing_is_kept(tmp_path, store):
    with pytest.raises(TypeError, match="workspaces"):
        worker(tmp_path, store, workspaces=True)
    assert vars(store).keys() == {"grants", "asked", "on_the_way"}


async def fastapi_permission_middleware(request: Any, call_next: Any) -> Any:
    return PlainTextResponse("whole", 403)


def application(auth: Any, first: Any = fastapi_permission_middleware) -> Any:
    """An application with one route of its own, one that MLflow finds a rule for, and the rest for Flask."""

    async def flask(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("flask")(scope, receive, send)

    app = FastAPI()
    app.get("/native")(lambda: "native")
    app.mount("/", flask)
    app.middleware("http")(first)
    auth._native_fastapi_routes = lambda app: [route for route in app.routes if not isinstance(route, Mount)]
    auth._scope_matches_native_route = lambda native_routes, scope: any(
        route.matches(scope)[0] == Match.FULL for route in native_routes
    )
    auth._find_fastapi_validator = lambda path, method: print if path.startswith("/gateway/") else None
    return app


def asked(app: Any, path: str) -> str:
    async def ask() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mlflow") as client:
            return (await client.get(path)).text

    return asyncio.run(ask())


class TestMiddlewareOfMLflow:
    def test_is_left_out_for_what_flask_serves_and_nothing_else(self, auth):
        app = application(auth)
        mlflow_rights.pass_on(auth, app)
        for _ in range(2):
            assert asked(app, "/api/2.0/mlflow/runs/get") == asked(app, "/native/not") == "flask"
            assert asked(app, "/native") == asked(app, "/gateway/x") == "whole"

    def test_another_one_is_left_alone(self, auth):
        async def other(request: Any, call_next: Any) -> Any:
            return PlainTextResponse("other")

        app = application(auth, other)
        with pytest.raises(TypeError, match="another middleware"):
            mlflow_rights.pass_on(auth, app)
        assert asked(app, "/api/2.0/mlflow/runs/get") == "other"

    def test_what_does_not_fit_is_said_and_stops_nothing(self, capsys):
        with mlflow_rights.fitting("slower"):
            raise AttributeError("no lookups")
        assert capsys.readouterr().out == "[mlflow] slower, which this MLflow needs (no lookups)\n"
