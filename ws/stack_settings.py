"""One stack as its file configures it. A command reads the file once and passes this object on."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from config import keys, matrix
from config.builds import BuildSettings
from config.cluster import Membership
from config.cluster_file import find_membership
from config.devel_keys import load_keys
from config.encryption import Passphrase
from config.load import config_value, load
from config.own_dockerfile import check_dockerfiles
from config.packages import load_lock
from config.platform import KEY, PlatformSettings
from config.project import FOLDER, NAME
from config.ray_wheel import check_wheel
from config.stack_file import StackFile
from preflight import docker_engine
from stack.identity import StackIdentity
from stack.sources import TorchChoice
from stack.stack import Stack
from ws.environment import prepare_environment


def open_stack(stack: str) -> "StackSettings":
    """Opens a stack for a command: prepares the environment and reads the stack file."""
    return StackSettings.read(stack, prepare_environment())


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """A stack's identity, and its settings as the program reads them.

    Only what is asked for is checked, so that a stack with mistakes in its file can still be listed and taken down.
    Every property but `identity` raises `ConfigError` and `SettingsError`.
    """

    file: StackFile
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, stack: str, environment: Mapping[str, str]) -> "StackSettings":
        """Reads the stack's file. Raises `ConfigError` where there is none, or it is not one."""
        return cls(file=StackFile.read(FOLDER, stack, Passphrase(environment)), environment=environment)

    @property
    def identity(self) -> StackIdentity:
        """The identity that the stack's containers carry."""
        return StackIdentity(project=self.file.project, stack=self.file.stack)

    def text(self, key: str) -> str | None:
        """The text of a key of this project, as the program is given it."""
        return self._values.get(f"{NAME}:{key}")

    @cached_property
    def membership(self) -> Membership | None:
        """The membership of the stack's host in a cluster of several hosts."""
        return find_membership(self.text, stack=self.file.stack, stack_file=self.file.name)

    @cached_property
    def platform(self) -> PlatformSettings:
        """The settings of a stack that deploys, regardless of the lock of its own packages."""
        text = self.text(KEY.partition(":")[2])
        return load(config_value(text), stack_file=self.file.name, membership=self.membership)

    @cached_property
    def deployable(self) -> PlatformSettings:
        """The same with the lock of the stack's own packages. It must be in order, as must the build of Ray, own
        Dockerfiles, and the keys of people.
        """
        settings, name = self.platform, self.file.name
        lock = load_lock(settings.images, settings.variant, stack_file=name, key=KEY, folder=FOLDER)
        check_wheel(settings.images, stack_file=name, key=KEY, folder=FOLDER)
        check_dockerfiles(settings, stack_file=name, key=KEY, folder=FOLDER)
        keys = load_keys(settings, stack_file=name, key=KEY, folder=FOLDER)
        return settings.with_packages(lock).with_login_keys(keys)

    @cached_property
    def matrix(self) -> object:
        """The file's matrix settings, unchecked; None for a stack that deploys. A key without a value is all
        defaults, as for the program. A file that has both is refused.
        """
        text = self.text(matrix.KEY.partition(":")[2])
        if text is None:
            return None
        matrix.refuse_beside(self.text, stack_file=self.file.name)
        value = config_value(text)
        return {} if value is None else value

    @property
    def builds(self) -> tuple[BuildSettings, TorchChoice]:
        """How the stack's images are built, and with which torch."""
        if self.matrix is not None:
            return matrix.parse(self.matrix, stack_file=self.file.name), "cuda"
        return self.deployable.images, self.deployable.torch

    @property
    def previewed(self) -> Stack:
        """The stack as in a preview: nothing is generated or written."""
        _ = self._values
        return Stack(
            identity=self.identity, config=self.text, dry_run=True, python=sys.executable, environment=self.environment
        )

    @cached_property
    def _values(self) -> Mapping[str, str]:
        values = self.file.config.values
        keys.check(values, stack_file=self.file.name)
        docker_engine.refuse_other_engine(values, stack_file=self.file.name)
        return values
