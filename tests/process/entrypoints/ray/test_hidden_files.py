"""A file is hidden from a process and its children, and everything else is as it was. Needs Landlock, as here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testing.harness import PROJECT

ROOT = PROJECT
HIDE = "import sys, pathlib; from entrypoints.ray.hidden_files import hide; done = hide(pathlib.Path(sys.argv[1]));"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "reader").write_text("public")
    (tmp_path / "secrets" / "agent").write_text("hidden")
    return tmp_path / "secrets" / "agent"


def run(secret: Path, code: str) -> str:
    program = f"{HIDE}print(done);\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(secret)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("\n")
    if first == "False":
        pytest.skip("no Landlock here")
    return rest.strip()


REFUSED = """
try:
    print(open({path}).read())
except PermissionError:
    print("refused")
"""


class TestHiding:
    def test_it_cannot_be_read_by_any_path(self, secret):
        for path in ("sys.argv[1]", "'/proc/self/root' + sys.argv[1]"):
            assert run(secret, REFUSED.format(path=path)) == "refused"

    def test_nor_by_a_child_a_link_or_a_rename(self, secret):
        code = """
import os, subprocess
folder = os.path.dirname(sys.argv[1])
print(subprocess.run(["cat", sys.argv[1]], capture_output=True).returncode)
for make in (os.link, os.symlink):
    try:
        make(sys.argv[1], folder + "/" + make.__name__)
        open(folder + "/" + make.__name__).read()
    except PermissionError:
        print("refused")
"""
        assert run(secret, code).split() == ["1", "refused", "refused"]

    def test_what_lies_beside_it_and_all_else_is_as_before(self, secret, tmp_path):
        code = """
import os, subprocess, tempfile
folder = os.path.dirname(sys.argv[1])
print(open(folder + "/reader").read(), sorted(os.listdir(folder)))
print(len(os.listdir("/")) > 5, len(open("/proc/self/status").read()) > 10, open("/dev/null").read() == "")
other = tempfile.mkdtemp()
os.mkdir(other + "/a"), os.mkdir(other + "/b")
open(other + "/a/file", "w").write("text")
os.rename(other + "/a/file", other + "/b/file")
os.link(other + "/b/file", other + "/a/link")
print(open(other + "/a/link").read(), subprocess.run(["ls", "/usr"], capture_output=True).returncode)
print(os.fdopen(os.memfd_create("x"), "w+").read() == "", os.popen("echo piped").read().strip())
with open("/proc/self/fd/%d" % os.memfd_create("y")) as again:
    print(again.read() == "")
"""
        lines = run(secret, code).splitlines()
        assert lines == [
            "public ['agent', 'reader']",
            "True True True",
            "text 0",
            "True piped",
            "True",
        ]

    def test_who_is_not_restricted_reads_it_and_is_not_looked_into(self, secret):
        code = f"""
import os
from testing.harness import PROJECT
try:
    print(os.readlink("/proc/{os.getpid()}/cwd"))
except PermissionError:
    print("refused")
"""
        assert run(secret, code) == "refused"
        assert secret.read_text() == "hidden"

    def test_a_file_that_is_not_there_hides_nothing_else(self, tmp_path, secret):
        assert (
            run(secret.with_name("missing"), "print(open(sys.argv[1].replace('missing', 'agent')).read())") == "hidden"
        )
