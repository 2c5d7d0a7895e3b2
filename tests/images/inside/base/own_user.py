"""The user that the image runs as by itself."""

import os
import pwd
import shutil
import stat

USER = ""  # the image's own
UID = 1000


def check_is_uid_1000_and_has_a_name() -> None:
    """Programs ask for it: getpass, git, ssh."""
    assert (os.getuid(), os.getgid()) == (UID, UID)
    assert pwd.getpwuid(UID).pw_uid == UID


def check_starts_in_a_folder_of_its_own() -> None:
    """With a writable root, notebooks and results go there."""
    assert os.getcwd() == "/workspace"  # noqa: PTH109  (what a shell would say)
    assert os.lstat("/workspace").st_uid == UID


def check_owns_its_home_and_the_folder_for_scratch() -> None:
    """A volume that is mounted there for the first time becomes this user's by it."""
    for folder in ("/home/cslr", "/scratch"):
        status = os.lstat(folder)
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (UID, UID, 0o755), folder
    assert pwd.getpwuid(UID).pw_dir == "/home/cslr"


def check_finds_the_environments_python_first() -> None:
    """`python` is the one with the packages."""
    assert shutil.which("python") == "/opt/venv/bin/python"
