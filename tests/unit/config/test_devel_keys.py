"""Keys of people who may log in to the devel container: what is taken, and one clear error for every mistake."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from config.devel_keys import load_keys
from config.load import load
from config.platform import KEY
from config.problems import SettingsError
from config.public_keys import PublicKey

FILE = "Pulumi.dev.yaml"


def line_of(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, comment: str) -> str:
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return f"{public} {comment}"


PRIVATE = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ANN, BEN = line_of(PRIVATE, "ann@laptop"), line_of(ec.derive_private_key(7, ec.SECP384R1()), "ben's desk")
SECURITY_KEY = (
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAICFo/k5LU8863u66YC9eUO2170QduohPURkQnbLa/"
    "dczAAAABHNzaDo= token"
)
PRIVATE_TEXT = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
DSA = "ssh-dss AAAAB3NzaC1kc3MAAACBAP ann@laptop"


def keys(*entries: str, folder: Path, enabled: bool = True) -> tuple[PublicKey, ...]:
    settings = load({"devel": {"enabled": enabled, "keys": list(entries)}}, stack_file=FILE)
    return load_keys(settings, stack_file=FILE, key=KEY, folder=folder)


def refusal(*entries: str, folder: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        keys(*entries, folder=folder)
    (problem,) = caught.value.problems
    assert problem.advice
    assert problem.commands
    return str(caught.value)


class TestTaken:
    def test_lines_of_each_kind(self, tmp_path):
        found = keys(ANN, BEN, SECURITY_KEY, folder=tmp_path)
        assert [key.line for key in found] == [ANN, BEN, SECURITY_KEY]

    def test_files_with_remarks_and_several_lines(self, tmp_path):
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys" / "group").write_text(f"# the group\n\n{ANN}\r\n  {BEN}  \n")
        assert [key.comment for key in keys("keys/group", folder=tmp_path)] == ["ann@laptop", "ben's desk"]

    def test_a_file_from_windows(self, tmp_path):
        (tmp_path / "ann.pub").write_bytes(b"\xef\xbb\xbf" + f"{ANN}\r\n".encode())
        assert [key.line for key in keys("ann.pub", folder=tmp_path)] == [ANN]

    def test_a_key_without_a_remark_and_with_a_tab(self, tmp_path):
        kind, data, _ = ANN.split(" ")
        assert keys(f" {kind}\t{data} ", folder=tmp_path)[0].line == f"{kind} {data}"

    def test_fingerprints_are_those_of_ssh_keygen(self, tmp_path):
        line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHeLFSqsibXQnxmqH6Sb5ORjE+shTr1FN+HhxARk2DzC a"
        assert keys(line, folder=tmp_path)[0].words == "a SHA256:lfNceiA6WSZEebxxhxoReuZWxx8F56fYCTHAczmEH/w"

    def test_no_remark_can_add_a_line(self, tmp_path):
        (key,) = keys(f"{ANN}\x1b[31m\u2028ssh-rsa", folder=tmp_path)
        assert key.line.isprintable()

    def test_nothing_is_read_of_a_service_that_is_off(self, tmp_path):
        assert keys("keys/nobody.pub", "nonsense in here", folder=tmp_path, enabled=False) == ()


class TestRefused:
    @pytest.mark.parametrize(
        ("line", "reason", "remedy"),
        [
            (PRIVATE_TEXT, "is a private key", "ends in .pub"),
            (PRIVATE_TEXT.replace("\n", " "), "is a private key", "ends in .pub"),
            (f"no-pty {ANN}", "has options in front of the key", "Begin with the type of the key"),
            (f'command="ls -l",no-pty {ANN}', "has options in front of the key", "Begin with the type"),
            (
                "ssh-foo AAAA ann",
                "begins with 'ssh-foo', which is not a known type of key",
                "Known types are ssh-ed25519",
            ),
            ("ssh-ed25519 ", "is not a known type of key", ""),
            (ANN[:50] + " ann", "is cut off or damaged", "the whole line"),
            (ANN.replace("ssh-ed25519", "ssh-rsa", 1), "is cut off or damaged", "the whole line"),
            (ANN.replace("AAAAC3", "....C3", 1), "is cut off or damaged", "the whole line"),
            (DSA, "is a DSA key, which OpenSSH refuses", "ssh-keygen -t ed25519"),
        ],
        ids=lambda text: text[:25],
    )
    def test_each_mistake_has_its_reason_in_a_line_and_in_a_file(self, line, reason, remedy, tmp_path):
        if " " in line.strip():
            text = refusal(line, folder=tmp_path)
            assert f"{FILE}: cslr:platform.devel.keys[0]: {reason}" in text or reason in text
            assert remedy in text
            assert "ws unset 'devel.keys[0]'" in text or "ws unset" in text
        (tmp_path / "mine").write_text(f"# mine\n{line}\n")
        if line.strip() != "ssh-ed25519":
            text = refusal("mine", folder=tmp_path)
            assert reason in text
            assert f"{FILE}: cslr:platform.devel.keys[0]: mine" in text

    def test_no_message_shows_a_private_key(self, tmp_path):
        secret = PRIVATE_TEXT.splitlines()[2][:20]
        (tmp_path / "mine").write_text(PRIVATE_TEXT)
        for entry in (PRIVATE_TEXT, "mine"):
            assert secret not in refusal(entry, folder=tmp_path)

    def test_no_message_shows_a_private_key_of_putty(self, tmp_path):
        (tmp_path / "mine").write_text(f"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{'c2VjcmV0' * 8}\n")
        text = refusal("mine", folder=tmp_path)
        assert "is a private key" in text
        assert "c2VjcmV0" not in text

    @pytest.mark.parametrize("character", ["\u200b", "#", "!", "\xe9"])
    def test_what_sshd_takes_for_no_key(self, character, tmp_path):
        """Such as an invisible character that a web page put there."""
        assert "is cut off or damaged" in refusal(f"{ANN[:40]}{character}{ANN[40:]}", folder=tmp_path)

    def test_two_keys_in_an_entry(self, tmp_path):
        """The second one would be the first one's remark."""
        assert "has several lines" in refusal(f"{ANN}\n{BEN}", folder=tmp_path)

    def test_a_short_rsa_key(self, tmp_path):
        numbers = rsa.RSAPublicNumbers(e=65537, n=(1 << 1023) + 1155685)
        short = numbers.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        assert "is an RSA key of 1024 bits" in refusal(f"{short} ann", folder=tmp_path)

    def test_one_key_twice_names_both_places(self, tmp_path):
        (tmp_path / "group.pub").write_text(f"{BEN}\n{ANN} again\n")
        text = refusal(ANN, "group.pub", folder=tmp_path)
        assert "devel.keys[1]: group.pub, line 2 is the same key as devel.keys[0] (ann@laptop again SHA256:" in text

    def test_a_missing_file(self, tmp_path):
        text = refusal("keys/nobody.pub", folder=tmp_path)
        assert "devel.keys[0]: keys/nobody.pub cannot be read: No such file or directory" in text
        assert str(tmp_path / "keys/nobody.pub") in text

    def test_a_file_outside_the_project(self, tmp_path):
        (tmp_path / "project").mkdir()
        (tmp_path / "ann.pub").write_text(ANN)
        assert "outside the project" in refusal("../ann.pub", folder=tmp_path / "project")

    def test_a_folder_an_empty_file_and_one_that_is_no_text(self, tmp_path):
        (tmp_path / "empty").write_text("# nobody\n")
        (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
        assert "is not a file with public keys" in refusal(".", folder=tmp_path)
        assert "contains no key" in refusal("empty", folder=tmp_path)
        assert "is not a text file" in refusal("binary", folder=tmp_path)

    @pytest.mark.parametrize("section", [{"keys": []}, {"keys": None}, {}])
    def test_a_service_that_nobody_could_log_in_to(self, section, tmp_path):
        with pytest.raises(SettingsError, match=r"devel.keys: is empty, so nobody could log in") as caught:
            load({"devel": {"enabled": True, **section}}, stack_file=FILE)
        assert "cat ~/.ssh/id_ed25519.pub" in str(caught.value)
        assert "ws set devel.enabled false" in str(caught.value)

    def test_every_mistake_is_said_at_once(self, tmp_path):
        (tmp_path / "mine").write_text(f"{DSA}\nssh-foo AAAA\n")
        with pytest.raises(SettingsError) as caught:
            keys("mine", "missing", folder=tmp_path)
        assert len(caught.value.problems) == 3

    def test_another_user_than_that_of_the_image(self):
        with pytest.raises(SettingsError, match=r"devel.user"):
            load({"devel": {"enabled": True, "keys": [ANN], "user": "1001:1001"}}, stack_file=FILE)
