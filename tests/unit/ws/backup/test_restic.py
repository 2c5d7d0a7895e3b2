"""What restic's words mean."""

from pathlib import Path

import pytest

from ws.backup.restic import Repository, ResticError

ASKS = "\nIs there a repository at the following location?\n/mnt/backup"


@pytest.mark.parametrize(
    ("said", "absent"),
    [
        ("unable to open config file: stat /mnt/backup/config: no such file or directory" + ASKS, True),
        ("unable to open config file: Stat: The specified key does not exist." + ASKS, True),
        ("unable to open config file: stat /mnt/backup/config: permission denied" + ASKS, False),
        ("unable to open config file: Stat: Access Denied." + ASKS, False),
        ("unable to open config file: Stat: dial tcp 10.0.0.1:9000: connect: connection refused" + ASKS, False),
        ('unable to open config file: Stat: Get "http://s3/backups/?location=": EOF' + ASKS, False),
        ("unable to open config file: Stat: dial tcp 10.0.0.1:9000: i/o timeout" + ASKS, False),
        ("unable to open config file: Stat: We encountered an internal error, please try again." + ASKS, False),
        ("unable to open config file: Stat: x509: certificate signed by unknown authority" + ASKS, False),
    ],
)
def test_repository_is_absent_only_where_one_could_be_seen(said, absent):
    """Where it is, a first backup makes one."""
    assert ResticError("no", f"Fatal: {said}").absent is absent


def test_variables_of_the_caller_name_no_other_repository(monkeypatch):
    for name in ("RESTIC_REPOSITORY", "RESTIC_PASSWORD", "RESTIC_PASSWORD_COMMAND", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.setenv(name, "the caller's")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    keys = Path("/root/keys")
    for credentials, more in ((None, {}), (keys, {"AWS_SHARED_CREDENTIALS_FILE": str(keys)})):
        one = Repository(location="/mnt/b", password_file=Path("/root/p"), s3_credentials=credentials)
        given = {name: text for name, text in one.surroundings.items() if name.startswith(("RESTIC_", "AWS_"))}
        assert given == {"RESTIC_REPOSITORY": "/mnt/b", "RESTIC_PASSWORD_FILE": "/root/p", **more}
        assert one.surroundings["HTTPS_PROXY"] == "http://proxy"
