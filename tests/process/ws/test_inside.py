"""What `ws exec` starts, on this host's own shell."""

import subprocess
import sys

from ws import inside


class TestProgram:
    def test_arguments_arrive_as_they_were_given(self):
        said = subprocess.run(
            ["sh", "-c", inside.COMMAND, "sh", "printf", "[%s]", "a b", "$HOME", "*"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert said.stdout == "[a b][$HOME][*]"

    def test_its_exit_code_is_kept(self):
        assert subprocess.run(["sh", "-c", inside.COMMAND, "sh", "sh", "-c", "exit 7"], check=False).returncode == 7


class TestClient:
    def test_this_process_becomes_the_client(self, tmp_path):
        client = tmp_path / "docker"
        client.write_text('#!/bin/sh\necho "$@"; exit 42\n')
        client.chmod(0o755)
        program = f"from ws.inside import become; become(['docker', 'exec', 'x'], {{'PATH': {str(tmp_path)!r}}})"
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stdout) == (42, "exec x\n")
