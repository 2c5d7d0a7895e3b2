"""`ws data list` and `verify` on a stack of a single host, from a shell."""

import json
import subprocess

import pytest

from tests.process.ws.copied_project import CopiedProject


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("signs")
    (made / "one").write_text("1")
    (made / "two\nlines").write_text("2")
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory, folder):
    datasets = {"signs": {"source": str(folder)}, "lost": {"source": "/srv/lost-signs"}}
    return CopiedProject.make(tmp_path_factory.mktemp("project"), {"datasets": datasets})


def test_lists_what_is_where(project, folder):
    done = project.ws("data", "list", "--json")
    lost, signs = json.loads(done.stdout)
    assert signs["source"] == str(folder)
    assert signs["size"] == {"files": 2, "bytes": 2, "complete": True}
    assert signs["targets"] == {"/data/signs": ["ray-cpu", "marimo"]}
    assert lost["size"] is None
    assert "no folder" in project.ws("data", "list").stdout


def test_verifies_what_it_has_recorded(project, folder):
    first = project.ws("data", "verify", "signs")
    assert (first.returncode, "Nothing was compared" in first.stdout) == (0, True)
    assert "signs is as recorded on" in project.ws("data", "verify", "signs").stdout
    [record] = project.folder.parent.glob("state/**/signs.sha256")
    subprocess.run(["sha256sum", "--check", "--strict", str(record)], cwd=folder, check=True)
    (folder / "one").write_text("3")
    (folder / "new").touch()
    found = project.ws("data", "verify", "signs", "--json")
    assert found.returncode == 1
    assert json.loads(found.stdout) == {"missing": [], "extra": ["new"], "changed": ["one"], "unreadable": []}
    assert "1 extra, 1 changed. If that was meant: ws data verify signs -s process --record" in found.stderr
    again = project.ws("data", "verify", "signs", "--record")
    assert (again.returncode, "Nothing was compared" in again.stdout) == (0, False)
    assert project.ws("data", "verify", "signs").returncode == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ("verify", "sings"),
            "'sings' is not a dataset: cslr:platform.datasets in Pulumi.process.yaml does not have it",
        ),
        (("verify", "lost"), "/srv/lost-signs, the folder of the dataset lost, is not there"),
        (("sync", "signs", "--to", "beta"), "the stack process is of a single host"),
    ],
)
def test_says_what_it_cannot_do(project, words, reason):
    done = project.ws("data", *words)
    assert (done.returncode, reason in done.stderr) == (1, True)
