"""The history as a table, in full, and as JSON."""

import io

from rich.console import Console

from stack.history import Record
from ws.history import view

OLD = "config:\n  cslr:platform: {redis: {memory: 512m}}\n  cslr:rayToken: {secure: v1:n:AAAAAAAAAAAA}\n"
NEW = "config:\n  # more\n  cslr:platform: {redis: {memory: 1g}}\n  cslr:rayToken: {secure: v1:n:BBBBBBBBBBBB}\n"


def record(number: int, text: str = OLD, **values: object) -> Record:
    return Record.model_validate(
        {
            "number": number, "operation": "up", "engine": "embedded", "who": "anna (as root)", "started": 1.7e9,
            "seconds": 41.0, "version": "0.2.0", "commit": "abc", "outcome": "done",
            "files": {"Pulumi.dev.yaml": text}, **values,
        }
    )  # fmt: skip


UP = record(1, counts={"create": 9}, verification="13 of 13 passed")
EDITED = record(
    2,
    NEW,
    counts={"replace": 1, "same": 8},
    changed=[{"name": "redis-container", "kind": "container", "action": "replace"}],
    images={"redis": {"identifier": "sha256:0123456789abcdef", "tags": ["cslr/redis:1"]}},
)
DOWN = record(3, operation="down", files={}, outcome="interrupted", seconds=None)
BACK = record(4, operation="rollback", returned_to=1)
RECORDS = [UP, EDITED, DOWN, BACK]


def printed(*parts: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def full(one: Record) -> str:
    console = Console(file=io.StringIO(), width=200)
    view.show(RECORDS, one, console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


class TestTable:
    def test_has_a_line_for_each_run(self):
        _, up, edited, down, back = printed(view.table(RECORDS, RECORDS)).splitlines()
        assert all(text in up for text in ("anna (as root)", "0.2.0 (abc)", "41 s", "9 created", "first", "13 of 13"))
        assert all(text in edited for text in ("1 replaced, 8 unchanged", "2 changed since 1", "done"))
        assert all(text in down for text in ("down", "interrupted"))
        assert "rollback to 1" in back
        assert "2 changed since 2" in back  # the last run that had files

    def test_says_in_short_why_one_failed(self):
        why = "mlflow-container: crashes: it ended 6 times within 7 s (the last time: exit code 7)."
        said = printed(view.table(RECORDS, [record(6, outcome="failed", error=why)]))
        assert "failed: mlflow-container: crashes: it ended 6 times …" in " ".join(said.split())

    def test_compares_with_runs_that_it_does_not_show(self):
        assert "2 changed since 1" in printed(view.table(RECORDS, RECORDS[1:2]))

    def test_compares_with_the_last_that_did_not_fail(self):
        failed, fixed = record(5, NEW, outcome="failed"), record(6, NEW)
        _, first, second = printed(view.table([*RECORDS, failed, fixed], [failed, fixed])).splitlines()
        assert "2 changed since 4" in first
        assert "2 changed since 4" in second
        assert "as 4" in printed(view.table([*RECORDS, failed], [record(7)]))


class TestInFull:
    def test_names_resources_config_and_images(self):
        said = full(EDITED)
        assert "± redis-container container" in said
        assert "cslr:platform.redis.memory: 512m → 1g" in said
        assert "cslr/redis:1 (0123456789ab)" in said

    def test_shows_of_a_secret_only_that_it_is_another(self):
        (line,) = [line for line in full(EDITED).splitlines() if "rayToken" in line]
        assert "[secret]" in line
        assert "v1:" not in line

    def test_of_the_same_config_says_so(self):
        again = record(5)
        console = Console(file=io.StringIO(), width=200)
        view.show([*RECORDS, again], again, console)
        assert "compared with 4: the same" in console.file.getvalue()  # type: ignore[attr-defined]

    def test_of_a_failure_has_its_error(self):
        assert "redis: is not healthy" in full(record(6, outcome="failed", error="redis: is not healthy"))


class TestJson:
    def test_has_the_diff_and_files_only_where_they_are_asked_for(self):
        found = view.as_json(RECORDS, EDITED, files=False)
        assert found["config_diff"]["compared_with"] == 1
        assert "cslr:platform.redis.memory: 512m → 1g" in found["config_diff"]["lines"]
        assert "files" not in found
        assert view.as_json(RECORDS, EDITED, files=True)["files"] == {"Pulumi.dev.yaml": NEW}
        assert view.as_json(RECORDS, UP, files=False)["config_diff"] is None


def test_a_file_that_is_no_yaml_and_a_lock_are_compared_too():
    broken = record(1, "config: [")
    assert view.config_diff(broken, record(2, "config: {a: 1}\n")) == ["a: [not set] → 1"]
    locked = UP.model_copy(update={"files": {**UP.files, "Pulumi.dev.packages.txt": "x"}})
    assert view.config_diff(UP, locked) == ["Pulumi.dev.packages.txt: is new"]
    assert view.config_diff(locked, UP) == ["Pulumi.dev.packages.txt: is gone"]
