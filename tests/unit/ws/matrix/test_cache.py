"""What the build cache holds, as `ws matrix --prune` shows it."""

import io

from rich.console import Console

from ws.matrix.cache import parts, table

RECORDS = [
    {"Type": "regular", "Size": 10**9, "InUse": True, "Shared": False},
    {"Type": "regular", "Size": 2 * 10**9, "InUse": False, "Shared": False},
    {"Type": "exec.cachemount", "Size": 5 * 10**9, "InUse": False, "Shared": False},
    {"Type": "something.new", "Size": 10**6, "InUse": False, "Shared": True},
]


def test_it_is_summed_by_kind_the_largest_first():
    found = [(part.kind, part.records, part.size, part.unused) for part in parts(RECORDS)]
    assert found == [
        ("downloaded packages (cache mounts)", 1, 5 * 10**9, 5 * 10**9),
        ("steps of builds", 2, 3 * 10**9, 2 * 10**9),
        ("something.new", 1, 10**6, 0),
    ]


def test_the_table_ends_with_the_sum():
    shown = io.StringIO()
    Console(file=shown, width=120).print(table(parts(RECORDS)))
    assert shown.getvalue().splitlines()[-1].split() == ["all", "4", "8.00", "GB", "7.00", "GB"]
