"""The files that a record keeps."""

from stack import kept_files
from testing.stack_files import written

TEXT = "config:\n  # why\n  cslr:platform: {}\n"


def test_the_stack_file_and_the_lock_beside_it(tmp_path):
    assert kept_files.kept_files(written(TEXT), tmp_path) == ({"Pulumi.dev.yaml": TEXT}, ())
    (tmp_path / "Pulumi.dev.packages.txt").write_text("lock")
    files, _ = kept_files.kept_files(written(TEXT), tmp_path)
    assert files == {"Pulumi.dev.yaml": TEXT, "Pulumi.dev.packages.txt": "lock"}


def test_none_that_are_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_files, "MOST_TEXT", 10)
    assert kept_files.kept_files(written(TEXT), tmp_path) == ({}, ())
