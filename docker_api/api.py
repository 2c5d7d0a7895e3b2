"""A small client of the Docker Engine API: JSON in, JSON out, errors as one sentence."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, cast

import docker
import requests

from docker_api.address import engine_address, engine_is_local
from docker_api.internals import hang_up

Json = dict[str, Any]
# Error texts of libraries → their meaning.
CAUSES = {
    "No such file": "there is no such socket",
    "Permission denied": "this user may not use it",
    "Connection refused": "nothing listens there",
    "timed out": "no answer in time",
}
PULSE_SECONDS = 1.0
TRANSFER_SILENCE = 600.0  # seconds without a word, after which a push or pull has stalled


def cause(error: BaseException) -> str:
    """Why the Engine does not answer, without the layers of libraries around it."""
    text = str(error)
    return next((meant for known, meant in CAUSES.items() if known in text), " ".join(text.split())[:200])


def data_root(info: Json) -> Path | None:
    """Where the Engine keeps its data, from its answer to ``/info``; None if it is on another host."""
    return Path(info["DockerRootDir"]) if engine_is_local() else None


def bytes_free(folder: Path | None) -> int | None:
    """Bytes free on the disk that a folder is on; None if unknown here."""
    try:
        return shutil.disk_usage(folder).free if folder else None
    except OSError:
        return None


class DockerError(Exception):
    """The daemon refused a call, or cannot be reached."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _Ticker:
    """Calls something each second from a thread of its own, until the block ends or the call raises."""

    def __init__(self, call: Callable[[], None], stop: Callable[[], None]) -> None:
        self._call = call
        self._stop = stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(PULSE_SECONDS):
            try:
                self._call()
            except Exception as error:  # noqa: BLE001 (it is raised where the block is)
                self.error = error
                self._stop()
                return


class DockerApi:
    """A connection to one daemon (``DOCKER_HOST``, else the local socket). May be used from several threads."""

    def __init__(self) -> None:
        try:
            self._client = docker.from_env(timeout=60, max_pool_size=32).api
            self._prefix = f"{self._client.base_url}/v{self._client.version()['ApiVersion']}"
        except (docker.errors.DockerException, requests.RequestException, ValueError) as error:  # also a bad port
            where = f"at {engine_address()}: {cause(error)}"
            raise DockerError(f"Docker does not answer {where}. Start it, or run `ws doctor`.") from error

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Json | None = None,
        body: Json | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:  # noqa: ANN401
        """One call; returns the decoded answer (None where there is none). Raises `DockerError`."""
        with self._request(method, path, query=query, json=body, headers=headers) as answer:
            return answer.json() if answer.content and "json" in answer.headers.get("Content-Type", "") else None

    def find(self, path: str) -> Json | None:
        """The object at `path`, or None where there is none."""
        try:
            return cast(Json, self.call("GET", path))
        except DockerError as error:
            if error.status == requests.codes.not_found:
                return None
            raise

    def stream(
        self,
        path: str,
        *,
        query: Json,
        data: Any = None,  # noqa: ANN401
        headers: Json | None = None,
        on_tick: Callable[[], None] = lambda: None,
        silence: float = TRANSFER_SILENCE,
    ) -> Iterator[Json]:
        """A call that answers with one JSON document a line, for as long as it takes.

        `on_tick` is called each second from another thread, also while the daemon says nothing. An error
        of it ends the call, and with it what the daemon does for it, and is raised here. So does a daemon that says
        nothing for `silence` seconds: a download that stalls would otherwise never end.
        """
        heard = time.monotonic()

        def tick() -> None:
            if time.monotonic() - heard > silence:
                raise DockerError(f"Docker said nothing for {silence:.0f} s, operation timed out: POST {path}")
            on_tick()

        with (
            self._request("POST", path, query=query, data=data, headers=headers, stream=True, timeout=None) as answer,
            _Ticker(tick, lambda: hang_up(self._client, answer)) as beating,
        ):
            try:
                for line in answer.iter_lines():
                    heard = time.monotonic()
                    if line:
                        yield json.loads(line)
            except requests.RequestException as error:
                if beating.error is None:
                    raise DockerError(f"Docker's answer broke off: POST {path}: {error}") from error
        if beating.error:
            raise beating.error

    def logs(self, container: str, lines: int = 15) -> str:
        """The end of a container's log."""
        return self._client.logs(container, tail=lines).decode(errors="replace").strip()

    def labelled(self, path: str, key: str, labels: list[str]) -> list[Json]:
        """The objects in the listing `path` that have all `labels`; `key` says where the answer has them."""
        answer = self.call("GET", path, query={"all": "true", "filters": json.dumps({"label": labels})})
        return cast(list[Json], (answer.get(key) or []) if key else answer)

    def _request(self, method: str, path: str, *, query: Json | None, **options: Any) -> requests.Response:  # noqa: ANN401
        options.setdefault("timeout", 120)
        try:
            answer = self._client.request(method, self._prefix + path, params=query, **options)
        except requests.RequestException as error:
            raise DockerError(f"Docker did not answer {method} {path}: {error}") from error
        if answer.status_code >= requests.codes.bad_request:
            with answer:
                try:
                    message = answer.json()["message"]
                except (ValueError, KeyError):
                    message = answer.text
            raise DockerError(message.strip(), answer.status_code)
        return answer
