"""The firewall's program as its container runs it."""

import os
import subprocess
import sys
import time

import pytest

from contracts.document import SETTINGS_VARIABLE, dump
from contracts.firewall import FirewallSettings
from entrypoints import firewall
from entrypoints.firewall import FirewallError
from testing.harness import PROJECT


class TestProcess:
    """The program as its container runs it, with an ``nft`` that writes down what it is told."""

    def test_sets_rules_and_removes_them_on_sigterm(self, tmp_path):
        told = tmp_path / "told"
        nft = tmp_path / "nft"
        nft.write_text(f'#!/bin/sh\necho "$@" >>{told}\n[ "$1" != -f ] || cat >>{told}\n')
        nft.chmod(0o755)
        settings = FirewallSettings(table="cslr-dev", gateway="127.0.0.1")
        environment = {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "TMPDIR": str(tmp_path),
            SETTINGS_VARIABLE: dump(settings),
        }
        program = ("-m", "entrypoints.firewall")
        with subprocess.Popen(
            [sys.executable, *program], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            deadline = time.monotonic() + 20
            while not (tmp_path / "cslr-firewall").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            checked = subprocess.run(
                [sys.executable, *program, "health"],
                cwd=PROJECT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            process.terminate()
            output, _ = process.communicate(timeout=20)
        assert (checked.returncode, checked.stdout) == (0, "rules stand\n")
        assert process.returncode == 0
        assert 'oifname != "lo" accept' in told.read_text()
        assert told.read_text().splitlines()[-1] == "delete table inet cslr-dev"
        assert output.splitlines()[-1] == "[firewall] rules are removed"

    def test_says_what_is_wrong_with_its_image(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(FirewallError, match="this image has no nft"):
            firewall.nft("list", "tables")
