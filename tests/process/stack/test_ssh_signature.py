"""Signatures by the real ssh-keygen: which count, and which keys cannot sign, without anybody being asked."""

import subprocess
import time
from pathlib import Path

import pytest

from stack.ssh_signature import INSTALL, NAMESPACE, SignatureError, check_signers, sign, verify
from testing.signing_keys import allow, make_key


@pytest.fixture
def key(ssh_keygen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return make_key(tmp_path / "key")


class TestSignature:
    def test_of_an_allowed_signer_counts(self, key):
        assert verify(b"text", sign(b"text", key), allow(key)) == "ci@example.org"

    def test_of_another_content_does_not(self, key):
        with pytest.raises(SignatureError, match="does not have a signature of its content"):
            verify(b"other", sign(b"text", key), allow(key))

    @pytest.mark.parametrize("signature", [b"", b"text", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n"])
    def test_that_is_none_does_not(self, key, signature):
        with pytest.raises(SignatureError, match="does not have a signature"):
            verify(b"text", signature, allow(key))

    def test_of_somebody_else_does_not_and_names_the_key(self, key, tmp_path):
        signers = allow(make_key(tmp_path / "other"))
        with pytest.raises(SignatureError, match=r"ED25519 key SHA256:.*other-signers does not allow"):
            verify(b"text", sign(b"text", key), signers)

    def test_for_another_purpose_does_not(self, key, tmp_path):
        file = tmp_path / "text"
        file.write_bytes(b"text")
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "file", file], check=True)
        with pytest.raises(SignatureError, match="namespace does not match"):
            verify(b"text", file.with_suffix(".sig").read_bytes(), allow(key))

    @pytest.mark.parametrize("options", ['namespaces="file"', 'valid-before="20200101"'])
    def test_that_its_signer_may_not_make_does_not(self, key, options):
        with pytest.raises(SignatureError, match="does not allow"):
            verify(b"text", sign(b"text", key), allow(key, options))

    @pytest.mark.parametrize("line", ['x@example.org badoption="1" {other}', "x@example.org ssh-ed25519 AAAA", "x"])
    def test_counts_beside_a_line_that_cannot_be_read(self, key, tmp_path, line):
        signers = allow(key)
        other = make_key(tmp_path / "other").with_name("other.pub").read_text().strip()
        signers.write_text(f"{line.format(other=other)}\n{signers.read_text()}")
        assert verify(b"text", sign(b"text", key), signers) == "ci@example.org"

    @pytest.mark.parametrize("name", ["*@example.org", "-Overify-time=2020", "--help"])
    def test_counts_whatever_its_signer_is_called(self, key, name):
        signers = allow(key)
        signers.write_text(f"{name} {key.with_name('key.pub').read_text()}")
        assert verify(b"text", sign(b"text", key), signers) == name

    def test_may_be_limited_to_images(self, key):
        assert verify(b"text", sign(b"text", key), allow(key, f'namespaces="{NAMESPACE}"'))

    @pytest.mark.parametrize("text", ["", "garbage\n"])
    def test_counts_for_no_one_where_nobody_is_allowed(self, key, tmp_path, text):
        (tmp_path / "nobody").write_text(text)
        with pytest.raises(SignatureError, match="does not allow"):
            verify(b"text", sign(b"text", key), tmp_path / "nobody")


class TestSigners:
    def test_are_a_file_that_can_be_read(self, key):
        check_signers(allow(key))

    def test_that_are_missing_are_refused_with_the_command_that_adds_one(self, key, tmp_path):
        with pytest.raises(SignatureError, match="there is no file") as caught:
            check_signers(tmp_path / "my signers")
        assert caught.value.remedy.endswith(f">> '{tmp_path}/my signers'")

    @pytest.mark.parametrize("name", ["", "n" * 300])
    def test_that_are_no_file_are_refused(self, key, tmp_path, name):
        with pytest.raises(SignatureError, match=r"there is no file|cannot be read \(File name too long\)"):
            check_signers(tmp_path / name)

    def test_need_openssh(self, key, monkeypatch, tmp_path):
        signers = allow(key)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SignatureError, match="needs the program ssh-keygen") as caught:
            check_signers(signers)
        assert caught.value.remedy == INSTALL


class TestKey:
    def test_with_a_passphrase_is_refused_at_once(self, key, tmp_path):
        began = time.monotonic()
        with pytest.raises(SignatureError, match="has a passphrase, and no agent holds it") as caught:
            sign(b"text", make_key(tmp_path / "closed", "secret"))
        assert caught.value.remedy.startswith("ssh-add ")
        assert time.monotonic() - began < 20

    def test_with_a_passphrase_signs_by_an_agent(self, key, tmp_path, monkeypatch):
        closed = make_key(tmp_path / "closed", "secret")
        helper = tmp_path / "answer"
        helper.write_text("#!/bin/sh\necho secret\n")
        helper.chmod(0o700)
        socket = tmp_path / "agent"
        with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
            while not socket.exists():
                time.sleep(0.02)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            monkeypatch.setenv("SSH_ASKPASS", str(helper))
            monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
            subprocess.run(["ssh-add", "-q", closed], check=True)
            signature = sign(b"text", closed)
            agent.terminate()
        assert verify(b"text", signature, allow(closed))

    def test_that_others_can_read_is_refused(self, key):
        key.chmod(0o644)
        with pytest.raises(SignatureError, match="can be read by others") as caught:
            sign(b"text", key)
        assert caught.value.remedy == f"chmod 600 {key}"

    def test_that_is_public_alone_is_refused(self, key):
        key.unlink()
        with pytest.raises(SignatureError, match="is a public key"):
            sign(b"text", key.with_name("key.pub"))

    def test_that_is_missing_is_refused_with_the_command_that_makes_one(self, key):
        with pytest.raises(SignatureError, match="does not exist") as caught:
            sign(b"text", key.with_name("absent"))
        assert caught.value.remedy.startswith("ssh-keygen -t ed25519")

    def test_in_a_path_with_spaces_is_quoted_in_the_command(self, key):
        with pytest.raises(SignatureError) as caught:
            sign(b"text", key.with_name("my key"))
        assert caught.value.remedy.endswith(f"-f '{key.with_name('my key')}'")

    def test_that_is_none_is_refused(self, key):
        file = key.with_name("text")
        file.write_text("text")
        with pytest.raises(SignatureError, match="is not a key that OpenSSH can sign with"):
            sign(b"text", file)
