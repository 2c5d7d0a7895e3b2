"""Pulumi's history as its CLI prints it."""

import json
from pathlib import Path

from ws.pulumi.updates import updates


def test_is_asked_for_by_stack(tmp_path):
    cli = tmp_path / "pulumi"
    answer = json.dumps([{"kind": "update", "message": "$@"}]).replace("$@", "'\"$*\"'")
    cli.write_text(f"#!/bin/sh\necho '{answer}'\n")
    cli.chmod(0o700)
    (found,) = updates(cli, tmp_path, "dev", 10)
    assert found["message"] == "stack history --json --non-interactive --stack dev --page-size=10"


def test_of_a_cli_that_fails_or_is_not_there_is_nothing(tmp_path):
    assert updates(Path("/nonexistent/pulumi"), tmp_path, "dev", 10) == []
    cli = tmp_path / "pulumi"
    cli.write_text("#!/bin/sh\necho error: no stack named dev >&2\nexit 255\n")
    cli.chmod(0o700)
    assert updates(cli, tmp_path, "dev", 10) == []
