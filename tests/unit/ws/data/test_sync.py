"""What is said where a copy to another host fails."""

import pytest

from config.datasets import DatasetSettings
from ws.data.datasets import Dataset
from ws.data.sync import Options, command, failure
from ws.rolling.ssh import Remote

SIGNS = Dataset(
    name="signs",
    settings=DatasetSettings(source="/srv/my signs"),
    hosts=("alpha", "beta"),
    here=True,
    services=(),
)
BETA = Remote(name="beta", destination="ops@beta.example.org", folder="/srv/platform", stack="beta", here=False)


class TestFailure:
    @pytest.mark.parametrize(
        ("code", "said", "sentence"),
        [
            (255, "Host key verification failed.\r\n", "logging in once: ssh ops@beta.example.org"),
            (
                255,
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "ssh-keygen -R beta.example.org",
            ),
            (255, "ops@x: Permission denied (publickey,password).", "ssh-copy-id ops@beta.example.org"),
            (255, "ssh: Could not resolve hostname beta", "set hosts.beta.ssh.destination"),
            (255, "ssh: connect to host 192.0.2.1 port 22: Connection timed out", "does not answer"),
            (127, "sh: 1: rsync: not found\nrsync error: remote command not found (code 127)", "beta has no rsync"),
            (127, "bash: line 1: rsync: command not found\nrsync error", "sudo apt-get install rsync"),
            (11, 'rsync: write failed on "/srv/x": No space left on device (28)', "the disk of beta is full"),
            (
                11,
                'rsync: [Receiver] mkdir "/srv/my signs" failed: Permission denied (13)',
                "may not write /srv/my signs",
            ),
            (24, "rsync warning: some files vanished before they could be transferred", "not everything was copied"),
            (20, "rsync error: received SIGINT", "resume where it stopped"),
            (12, "one\n\ntwo\n", "rsync ended with code 12: one / two"),
            (3, "", "rsync ended with code 3: no output"),
        ],
    )
    def test_has_a_sentence_and_a_remedy(self, code, said, sentence):
        assert sentence in failure(SIGNS, BETA, code, said)


class TestCommand:
    def test_copies_a_folder_to_the_same_path(self):
        words = command(SIGNS, BETA, Options())
        assert words[-3:] == ("--", "/srv/my signs/", "ops@beta.example.org:/srv/my signs/")

    def test_asks_no_questions(self):
        assert "--rsh=ssh -o BatchMode=yes" in " ".join(command(SIGNS, BETA, Options()))

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            (Options(dry_run=True), "--dry-run"),
            (Options(delete=True), "--delete-delay"),
            (Options(checksum=True), "--checksum"),
        ],
    )
    def test_does_more_only_if_asked(self, options, word):
        assert word in command(SIGNS, BETA, options)
        assert word not in command(SIGNS, BETA, Options())
