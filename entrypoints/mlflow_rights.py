"""MLflow's own logins with a cache of rights; an app of `mlflow server` (entry point group `mlflow.app`).

MLflow asks Postgres several times at each request who may do what, and loads the whole run to find its experiment. Here
the answers are kept for SECONDS, in the memory of each worker. Every change of rights and accounts that MLflow makes
empties the caches of all workers at once, by a file that they share; SECONDS is what is left for a change that somebody
makes in Postgres. No decision is made here, and what is not found is not kept.
mlflow_server.py writes the entry point. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

SECONDS = 60.0  # as long as MLflow's own cache of logins
ENTRIES = 10_000
PATHS = 1_000  # of which it is known who serves them
READ = ("authenticate_", "get_", "has_", "is_", "list_", "user_has_")  # methods of MLflow's store that change nothing
# Lookup → its parameters, by which another MLflow is told.
STORE = {"get_user": ("username",), "list_grants": ("user_id", "workspace", "resource_types")}
AUTH = {"_run_requirement": ("run_id", "action"), "_authenticate_cached": ("username", "password")}
ACCOUNT = ("delete_user", "update_user")  # those after which a login may no longer hold


class Changes:
    """How many changes were made, by all workers: the length of a file to which each change adds a byte."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def count(self) -> int:
        """The number so far."""
        return os.fstat(self._file).st_size

    def add(self) -> None:
        """One more."""
        os.write(self._file, b".")


class Cache:
    """Answers since the last change."""

    def __init__(self, entries: Any, changes: Changes) -> None:  # noqa: ANN401 (cachetools' TTLCache)
        self._entries, self._changes, self._lock = entries, changes, threading.Lock()
        self._at = changes.count()

    def get(self, key: Hashable, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 (of MLflow)
        """The answer for a key; the one that `ask` gives where there is none. `None` is not kept."""
        now = self._changes.count()  # before the question: an answer from before a change is not taken for a later one
        with self._lock:
            if self._at != now:
                self._entries.clear()
                self._at = now
            found = self._entries.get(key)
        if found is None:
            found = ask()
            with self._lock:
                if found is not None and self._at == now:
                    self._entries[key] = found
        return found


def remember(auth: ModuleType, folder: Path) -> None:
    """Put the caches in front of the lookups of ``mlflow.server.auth``.

    Raises AttributeError or TypeError, before anything is changed, where it has other lookups.
    """
    if auth.MLFLOW_ENABLE_WORKSPACES.get():
        raise TypeError("with workspaces, what there is of a run depends on the request")
    store = auth.store
    own_user, own_grants = _lookups(store, STORE)
    own_run, own_login = _lookups(auth, AUTH)
    logins, lock = auth._USER_AUTH_CACHE, auth._USER_AUTH_CACHE_LOCK
    rights, accounts = Changes(folder / "mlflow-rights"), Changes(folder / "mlflow-accounts")
    cache = Cache(auth.TTLCache(maxsize=ENTRIES, ttl=SECONDS), rights)
    known = accounts.count()

    def get_user(username: str) -> Any:  # noqa: ANN401 (of MLflow)
        return cache.get(("user", username), lambda: own_user(username))

    def list_grants(user_id: int, workspace: str, resource_types: Iterable[str]) -> list[Any]:
        types = frozenset(resource_types)
        return list(cache.get(("grants", user_id, workspace, types), lambda: own_grants(user_id, workspace, types)))

    def requirement(run_id: str, action: str) -> Any:  # noqa: ANN401 (of MLflow)
        # What it says of a run follows from the run's experiment, which never changes.
        found = cache.get(("run", run_id, action), lambda: own_run(run_id, action))
        return found and (found[0], list(found[1]))  # the caller adds to the list

    def login(username: str, password: str) -> Any:  # noqa: ANN401 (of MLflow)
        nonlocal known
        now = accounts.count()
        if known != now:
            with lock:
                logins.clear()
            known = now
        return own_login(username, password)

    for name in dir(type(store)):
        if not name.startswith(("_", *READ)) and callable(getattr(store, name)):
            counters = (rights, accounts) if name in ACCOUNT else (rights,)
            setattr(store, name, _counted(getattr(store, name), counters))
    store.get_user, store.list_grants = get_user, list_grants
    auth._run_requirement = requirement  # type: ignore[attr-defined]
    auth._authenticate_cached = login  # type: ignore[attr-defined]


def _lookups(owner: object, expected: Mapping[str, tuple[str, ...]]) -> list[Callable[..., Any]]:
    found = [getattr(owner, name) for name in expected]
    for function, parameters in zip(found, expected.values(), strict=True):
        _expect(function, parameters)
    return found


def _expect(function: Callable[..., Any], parameters: tuple[str, ...]) -> None:
    if tuple(inspect.signature(function).parameters) != parameters:
        raise TypeError(f"{getattr(function, '__name__', function)} takes other parameters")


def _counted(change: Callable[..., Any], counters: Iterable[Changes]) -> Callable[..., Any]:
    @functools.wraps(change)
    def counted(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (of MLflow)
        try:
            return change(*arguments, **named)
        finally:
            for each in counters:
                each.add()

    return counted


def pass_on(auth: ModuleType, app: Any) -> None:  # noqa: ANN401 (FastAPI's)
    """Lead requests that MLflow's middleware only passes on, because Flask serves them and asks who it is, past it.

    Raises LookupError, AttributeError or TypeError, before anything is changed, where it has another middleware.
    """
    permission = app.user_middleware[0]
    if permission.kwargs["dispatch"].__name__ != "fastapi_permission_middleware":
        raise TypeError("another middleware comes first")
    matches, routes = auth._scope_matches_native_route, auth._native_fastapi_routes(app)
    _expect(auth._find_fastapi_validator, ("path", "method"))
    _expect(matches, ("native_routes", "scope"))

    @functools.lru_cache(PATHS)
    def for_flask(path: str, method: str) -> bool:
        scope = {"type": "http", "path": path, "method": method, "root_path": "", "headers": []}
        return auth._find_fastapi_validator(path, method) is None and not matches(routes, scope)

    class Middleware:
        def __init__(self, inner: Any) -> None:  # noqa: ANN401
            self._inner = inner
            self._whole = permission.cls(inner, *permission.args, **permission.kwargs)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
            passed = scope["type"] == "http" and not scope["root_path"] and for_flask(scope["path"], scope["method"])
            await (self._inner if passed else self._whole)(scope, receive, send)

    app.user_middleware[0] = type(permission)(Middleware)


def create_app() -> Any:  # noqa: ANN401 (of MLflow)
    """MLflow's app with logins, in each worker."""
    from mlflow.server import auth

    with fitting("rights are looked up at each request"):
        remember(auth, Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]).parent)
    app = auth.create_app()
    with fitting("all requests go through MLflow's middleware"):
        pass_on(auth, app)
    return app


@contextmanager
def fitting(otherwise: str) -> Iterator[None]:
    """Say what is slower with an MLflow that this module does not fit, which works as it does alone."""
    try:
        yield
    except (AttributeError, LookupError, TypeError) as error:
        print(f"[mlflow] {otherwise}, which this MLflow needs ({error})", flush=True)
