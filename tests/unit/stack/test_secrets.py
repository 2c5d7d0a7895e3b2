"""Files that containers mount, and the secrets among them."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.project import state_root
from stack.identity import StackIdentity
from stack.secrets import SECRETS, SecretError, SecretFiles, minimum_length
from stack.state import HostFiles, stack_folder

AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
UID = 1000


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def files(folder):
    return HostFiles(folder=folder, dry_run=False)


@pytest.fixture
def preview(folder):
    return HostFiles(folder=folder, dry_run=True)


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def resolve(files: HostFiles, **configured: str) -> SecretFiles:
    return SecretFiles.resolve(files, configured.get, stack_file="Pulumi.dev.yaml", namespace="cslr")


def written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class TestStateFolder:
    def test_follows_the_users_wish(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert stack_folder(StackIdentity(project="cslr", stack="dev")) == tmp_path / "cslr" / "cslr" / "dev"

    @pytest.mark.parametrize("value", [None, ""])
    def test_is_the_usual_one_otherwise(self, monkeypatch, tmp_path, value):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("XDG_STATE_HOME", value)
        assert state_root() == tmp_path / ".local" / "state" / "cslr"


class TestProgram:
    def test_is_copied_for_every_container_to_read(self, files, tmp_path):
        source = tmp_path / "serve.py"
        source.write_text("print(1)\n")
        path = files.program(source)
        assert Path(path).read_text() == "print(1)\n"
        assert Path(path).name == "serve.py"
        assert mode(path) == 0o644

    def test_path_changes_with_its_content_alone(self, files, tmp_path):
        source = tmp_path / "serve.py"
        source.write_text("print(1)\n")
        before = files.program(source)
        source.touch()
        source.chmod(0o600)
        assert files.program(source) == before
        source.write_text("print(2)\n")
        assert files.program(source) != before
        assert Path(before).read_text() == "print(1)\n", "a running container still mounts it"

    def test_may_be_placed_by_several_at_once(self, files, tmp_path):
        source = tmp_path / "serve.py"
        source.write_text("print(1)\n" * 1000)
        with ThreadPoolExecutor(8) as pool:
            (path,) = set(pool.map(lambda _: files.program(source), range(32)))
        assert written(files.folder) == [Path(path)], "no draft is left"


class TestSecret:
    def test_is_readable_by_its_user_alone(self, files):
        path = files.secret("ray-token", "value", uid=os.getuid())
        assert Path(path).read_text() == "value"
        assert mode(path) == 0o600

    @AS_ROOT
    def test_belongs_to_the_user_of_its_container(self, files):
        path = Path(files.secret("ray-token", "value", uid=UID))
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (UID, UID, 0o600)

    def test_of_another_user_is_kept_from_others_by_the_folder(self, files, monkeypatch):
        monkeypatch.setattr(os, "getuid", lambda: 501)
        path = Path(files.secret("ray-token", "value", uid=UID))
        assert mode(path) == 0o644
        assert mode(path.parent) == 0o700

    def test_folders_are_closed_to_others(self, files):
        files.secret("ray-token", "value", uid=UID)
        files.generated("other")
        folders = [files.folder, *(path for path in files.folder.rglob("*") if path.is_dir())]
        assert {mode(path) for path in folders} == {0o700}

    def test_path_changes_when_it_is_rotated(self, files):
        assert files.secret("ray-token", "one", uid=UID) != files.secret("ray-token", "two", uid=UID)
        assert files.secret("ray-token", "one", uid=UID) == files.secret("ray-token", "one", uid=UID)

    def test_two_users_have_two_files(self, files):
        assert files.secret("ray-token", "one", uid=UID) != files.secret("ray-token", "one", uid=UID + 1)

    def test_path_gives_no_hint_of_it(self, files, tmp_path):
        """The path shows in `docker inspect`. On another host the same secret has another one."""
        other = HostFiles(folder=tmp_path / "elsewhere", dry_run=False)
        path, elsewhere = files.secret("ray-token", "hunter22", uid=UID), other.secret("ray-token", "hunter22", uid=UID)
        assert "hunter22" not in path
        assert Path(path).relative_to(files.folder) != Path(elsewhere).relative_to(other.folder)

    def test_tampered_file_is_written_anew(self, files):
        path = Path(files.secret("ray-token", "value", uid=UID))
        path.chmod(0o600)
        path.write_text("something else")
        assert files.secret("ray-token", "value", uid=UID) == str(path)
        assert path.read_text() == "value"

    def test_write_that_is_interrupted_leaves_the_old_file(self, files, monkeypatch):
        path = Path(files.secret("ray-token", "value", uid=UID))
        path.write_text("older")
        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(OSError, match="no space"):
            files.secret("ray-token", "value", uid=UID)
        assert path.read_text() == "older"


def interrupted(_descriptor: int) -> None:
    raise OSError("no space left on device")


class TestGeneratedSecret:
    def test_stays_the_same(self, files, folder):
        value = files.generated("ray-token")
        assert HostFiles(folder=folder, dry_run=False).generated("ray-token") == value
        assert HostFiles(folder=folder, dry_run=True).generated("ray-token") == value

    def test_that_another_program_makes_at_the_same_moment_is_that_ones(self, files, monkeypatch):
        def made_meanwhile(length: int) -> str:
            monkeypatch.undo()
            files.generated("ray-token")
            return "x" * length

        monkeypatch.setattr("stack.state.secrets.token_urlsafe", made_meanwhile)
        value = files.generated("ray-token")
        assert value == files.generated("ray-token")
        assert len(value) == 43
        assert [path.name for path in (files.folder / "generated").iterdir()] == ["ray-token"]

    def test_is_long_and_like_no_other(self, files):
        values = {files.generated(f"secret-{i}") for i in range(20)}
        assert len(values) == 20
        assert all(re.fullmatch(r"[\w-]{43}", value, re.ASCII) for value in values), "256 bits, safe in URLs"

    def test_is_kept_for_the_user_alone(self, files, folder):
        files.generated("ray-token")
        assert mode(folder / "generated" / "ray-token") == 0o600


class TestSharedFolder:
    def test_stays_with_what_a_container_wrote(self, files):
        (Path(files.shared("cluster", uid=os.getuid())) / "epoch").write_text("7")
        assert (Path(files.shared("cluster", uid=os.getuid())) / "epoch").read_text() == "7"

    @AS_ROOT
    def test_belongs_to_the_user_of_its_container(self, files):
        status = Path(files.shared("cluster", uid=1234)).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (1234, 0o700)

    def test_of_another_user_is_kept_from_others_by_the_folder_above(self, files, monkeypatch):
        monkeypatch.setattr(os, "getuid", lambda: 501)
        folder = Path(files.shared("cluster", uid=1000))
        assert folder.stat().st_mode & 0o777 == 0o777
        assert folder.parent.stat().st_mode & 0o077 == 0

    def test_is_only_named_in_a_preview(self, preview):
        assert not Path(preview.shared("cluster", uid=1000)).exists()


class TestPreview:
    def test_writes_nothing(self, preview, folder, tmp_path):
        source = tmp_path / "serve.py"
        source.write_text("print(1)\n")
        preview.program(source)
        preview.secret("ray-token", "value", uid=UID)
        preview.generated("ray-token")
        assert not folder.exists()

    def test_knows_the_paths_that_an_update_made(self, files, preview, tmp_path):
        source = tmp_path / "serve.py"
        source.write_text("print(1)\n")
        assert preview.program(source) == files.program(source)
        path = files.secret("ray-token", "value", uid=UID)
        assert preview.secret("ray-token", "value", uid=UID) == path


class TestResolve:
    def test_makes_all_of_them_up_on_first_use(self, files, folder):
        values = resolve(files).values
        assert set(values) == set(SECRETS)
        assert len(set(values.values())) == len(SECRETS)
        assert resolve(files).values == values
        assert {path.name for path in (folder / "generated").iterdir()} == set(SECRETS)

    @pytest.mark.parametrize(("name", "key"), SECRETS.items())
    def test_stack_config_wins(self, files, name, key):
        generated = resolve(files).values
        own = "from-the-config".ljust(minimum_length(name), "-")
        assert resolve(files, **{key: own}).values == {**generated, name: own}

    def test_configured_one_is_not_generated(self, files, folder):
        resolve(files, rayToken="from-the-config")
        assert not (folder / "generated" / "ray-token").exists()

    @pytest.mark.parametrize(
        "value", ["", "short", "seven77", "with space", "tab\tinside", "line\nbreak", "pässwörter", "null\0byte"]
    )
    def test_one_that_no_service_could_use_is_refused(self, files, value):
        with pytest.raises(SecretError) as caught:
            resolve(files, redisPassword=value)
        text = str(caught.value)
        assert text.startswith("Pulumi.dev.yaml: cslr:redisPassword: not usable as a secret.\n")
        assert "at least 8 printable ASCII characters" in text
        assert "ws set redisPassword" in text
        assert "ws unset redisPassword" in text
        assert not value or value not in text

    def test_shows_no_value(self, files):
        secrets = resolve(files, rayToken="from-the-config")
        assert not [value for value in secrets.values.values() if value in repr(secrets) + str(secrets)]


class TestMounts:
    def test_are_read_only_files_for_the_containers_user(self, files):
        mount = resolve(files, rayToken="from-the-config").mount("ray-token", user="1234:99")
        assert (mount.target, mount.read_only, mount.bind) == ("/run/secrets/ray-token", True, True)
        assert Path(str(mount.source)).read_text() == "from-the-config"
        assert "/1234/" in str(mount.source)

    def test_redis_asks_for_its_password(self, files):
        mount = resolve(files, redisPassword="from-the-config").redis_conf(
            "port 6379\n", user="1000:1000", replicated=False, namespace="cslr-dev"
        )
        lines = Path(str(mount.source)).read_text()
        assert lines.startswith('port 6379\nrequirepass "from-the-config"\nuser cslr-reader on #')
        assert mount.target == "/run/secrets/redis.conf"

    @settings(deadline=None, max_examples=50)  # it writes files, and disks are slow at times
    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40))
    def test_redis_reads_every_password_as_it_is(self, password):
        with TemporaryDirectory() as folder:
            secrets = resolve(HostFiles(folder=Path(folder), dry_run=False), redisPassword=password)
            path = secrets.redis_conf("", user="1000:1000", replicated=False, namespace="cslr-dev").source
            line = Path(str(path)).read_text().splitlines()[0]
        quoted = re.fullmatch(r'requirepass "((?:[^"\\]|\\["\\])*)"', line)
        assert quoted is not None, "a quote or a backslash is not escaped"
        assert re.sub(r"\\(.)", r"\1", quoted[1]) == password
