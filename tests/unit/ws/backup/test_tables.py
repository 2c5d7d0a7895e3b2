"""What a dump holds, table by table."""

from ws.backup.tables import DumpReader, differences

DUMP = rb"""--
COPY public.runs (run_uuid, name, artifact_uri) FROM stdin;
a1	one\ttwo	mlflow-artifacts:/1/a1/artifacts
b2	\N	mlflow-artifacts:/1/b2/artifacts
\.

COPY public.empty (id) FROM stdin;
\.

-- PostgreSQL database dump complete
"""


def read(*parts: bytes) -> DumpReader:
    reader = DumpReader()
    assert b"".join(reader.through(parts)) == b"".join(parts)
    return reader


def test_rows_are_counted_wherever_the_parts_are_cut():
    whole = read(DUMP)
    assert {name: table.rows for name, table in whole.tables.items()} == {"public.runs": 2, "public.empty": 0}
    assert read(*(DUMP[at : at + 1] for at in range(len(DUMP)))).tables == whole.tables


def test_order_of_rows_does_not_count_and_their_content_does():
    lines = DUMP.splitlines(keepends=True)
    lines[2], lines[3] = lines[3], lines[2]
    assert read(b"".join(lines)).tables == read(DUMP).tables
    changed = read(DUMP.replace(b"one", b"two"))
    assert differences(read(DUMP).tables, changed.tables) == ["public.runs has 2 rows, but not the same"]


def test_missing_rows_and_tables_are_told():
    fewer = read(
        DUMP.replace(b"b2\t\\N\tmlflow-artifacts:/1/b2/artifacts\n", b"").replace(b"public.empty", b"public.new")
    )
    assert differences(read(DUMP).tables, fewer.tables) == [
        "public.empty is missing",
        "public.new is new",
        "public.runs has 1 rows instead of 2",
    ]


def test_dump_that_breaks_off_is_not_complete():
    assert read(DUMP).complete
    assert not read(DUMP[:-40]).complete


def test_places_of_artifacts_are_found():
    assert read(DUMP).places == {
        "public.runs": {"a1": "mlflow-artifacts:/1/a1/artifacts", "b2": "mlflow-artifacts:/1/b2/artifacts"}
    }
