"""A scratch folder with the files of Ray's sessions, and the reader of them."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ws.logs.ray_sessions import CLOCK, FILES, NEW
from ws.logs import kinds, reader
from ws.logs.entry import Entry
from ws.logs.query import Query


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TZ", "UTC")
        time.tzset()
        kinds._minute.cache_clear()
        yield
    time.tzset()
    kinds._minute.cache_clear()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (CLOCK + 7, CLOCK + 7))
    (tmp_path / f"ray-cpu/ray/{NEW}").parent.joinpath("session_latest").symlink_to(tmp_path / f"ray-cpu/ray/{NEW}")
    return tmp_path


@pytest.fixture
def read(scratch: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[list[Entry], dict[str, Any]]]:
    """What the reader prints: entries and the summary."""

    def run(**query: Any) -> tuple[list[Entry], dict[str, Any]]:
        assert reader.main([str(scratch), "{}", Query(**query).to_json()]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [Entry(*line) for line in lines[:-1]], lines[-1]

    return run
