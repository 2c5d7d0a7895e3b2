"""One stack: its identity and config, and from these its files and secrets on this host.

Does not import Pulumi, so that `ws` can use it without loading Pulumi.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from config.cluster import Membership
from config.keys import HOST_ALONE
from config.problems import Problem, SettingsError, show
from stack.cluster_key import cluster_key, derived
from stack.identity import StackIdentity
from stack.secrets import SecretFiles
from stack.state import HostFiles, stack_folder

PREFLIGHT = "preflight"  # key of the stack config


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack, for the program that declares it and for `ws`."""

    identity: StackIdentity
    config: Callable[[str], str | None]  # the text of a key of this project
    dry_run: bool
    python: str  # the interpreter of this program, for the commands that it declares
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # of the process that deploys it

    @property
    def file(self) -> str:
        """The name of its stack file."""
        return f"Pulumi.{self.identity.stack}.yaml"

    @property
    def files(self) -> HostFiles:
        """Its files on this host."""
        return HostFiles(folder=stack_folder(self.identity), dry_run=self.dry_run)

    @property
    def preflight(self) -> bool:
        """Whether the host is checked first. Raises `SettingsError`."""
        return self._checked != "false"

    @property
    def owner_counts(self) -> bool:
        """Whether it is checked as well whose the stack's objects are. Raises `SettingsError`."""
        return self._checked not in ("false", HOST_ALONE)

    @property
    def _checked(self) -> str:
        text = self.config(PREFLIGHT)
        if text not in (None, "true", "false", HOST_ALONE):
            problem = Problem((), f"{show(text)} is neither true, false nor {HOST_ALONE}", "Say which, without quotes.")
            raise SettingsError([problem], self.file, f"{self.identity.project}:{PREFLIGHT}")
        return text or "true"

    def secrets(self, membership: Membership | None) -> SecretFiles:
        """Its secrets; those of a cluster are the same on all its hosts."""
        project, files = self.identity.project, self.files
        if membership is None:
            return SecretFiles.resolve(files, self.config, stack_file=self.file, namespace=project)
        key = cluster_key(membership, self.config, project=project, stack_file=self.file, dry_run=self.dry_run)
        cluster = membership.cluster.name

        def made(name: str) -> str:
            return files.keep(name, derived(key, cluster, name))

        return SecretFiles.resolve(files, self.config, stack_file=self.file, namespace=project, made=made)
