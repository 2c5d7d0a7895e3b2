"""Workspace: files of jobs and notebooks on this host's disk, which outlive their containers.

Owns two volumes, or uses folders of the host in their place: the scratch folder (Ray's sessions, spilled objects,
temporary files, package caches, uploads), whose size each node's guard limits (entrypoints/ray/node_guard.py), and the
home folder (results, checkpoints, model caches), which belongs only to the users. Both have the same paths in Ray's
nodes and in notebooks, and so has the folder for checkpoints that several hosts share, if there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.docker import data_volume
from contracts import checkpoints
from stack.identity import StackIdentity
from stack.mount import Mount
from stack.secrets import user_id
from stack.state import HostFiles

SCRATCH, HOME = "/scratch", "/home/cslr"
SCRATCH_VOLUME, HOME_VOLUME = "ray-scratch", "home"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, kw_only=True)
class WorkspaceArgs:
    """Plain values, already validated."""

    identity: StackIdentity
    files: HostFiles
    scratch: str | None  # a volume's name or a folder of the host; None: a volume of this stack
    scratch_limit: int  # bytes, of all services of the host together
    home: str | None
    checkpoints: str | None  # a folder of the host
    storage_path: str | None  # of Ray Train and Tune; None: `~/ray_results`
    user: str  # uid:gid that the containers run as
    pulled: bool  # whether any image is pulled: it lacks the folders that give a new volume its owner
    package_index: str | None  # package index at run time; None: the default of pip and uv


class Workspace(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:workspace:Workspace``. Ready when its volumes exist."""

    scratch: Mount
    home: Mount
    mounts: tuple[Mount, ...]  # for a container that works in it

    def __init__(self, name: str, args: WorkspaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:workspace:Workspace", name, None, opts)
        self._name = name
        self._args = args
        self.scratch = self._mount(SCRATCH_VOLUME, args.scratch, SCRATCH)
        self.home = self._mount(HOME_VOLUME, args.home, HOME)
        shared = (Mount(source=args.checkpoints, target=checkpoints.FOLDER),) if args.checkpoints else ()
        self.mounts = (self.scratch, self.home, *shared)
        self.register_outputs({"scratch": self.scratch.source, "home": self.home.source})

    @property
    def watched(self) -> Mount:
        """Mounts for a container that only reads the guards' reports."""
        return Mount(source=self.scratch.source, target=SCRATCH, read_only=True, bind=self.scratch.bind)

    def environment(self, service: str) -> Mapping[str, str]:
        """The variables that make a service's programs write to the disk and not to memory."""
        index = self._args.package_index
        return {
            "HOME": HOME,
            "TMPDIR": f"{SCRATCH}/{service}/tmp",  # noqa: S108
            "CSLR_SCRATCH": SCRATCH,
            "UV_CACHE_DIR": f"{SCRATCH}/cache/uv",
            "PIP_CACHE_DIR": f"{SCRATCH}/cache/pip",
            **({checkpoints.VARIABLE: path} if (path := self._args.storage_path) else {}),
            **({"UV_DEFAULT_INDEX": index, "PIP_INDEX_URL": index} if index else {}),
            # The base carries the site's certificate authorities, which pip, uv and requests do not read by themselves.
            **({} if self._args.pulled else dict.fromkeys(CERTIFICATE_VARIABLES, CERTIFICATES)),
        }

    @property
    def storage_path(self) -> str:
        """Where Ray Train and Tune keep checkpoints by default, as nodes and notebooks see it: a path or a URL."""
        return self._args.storage_path or f"{HOME}/ray_results"

    @property
    def scratch_limit(self) -> int:
        """Bytes that all services of the host may use together."""
        return self._args.scratch_limit

    def ray_sessions(self, service: str) -> str:
        """The folder of a node's Ray sessions."""
        return f"{SCRATCH}/{service}/ray"

    def node_environment(self, service: str) -> Mapping[str, str]:
        """Further variables for the hooks in a Ray node, which keep packages in the scratch folder."""
        return {"RAY_NODE_SERVICE": service, "RAY_NODE_SCRATCH_LIMIT": str(self._args.scratch_limit)}

    def _mount(self, part: str, location: str | None, target: str) -> Mount:
        args = self._args
        if location is None and args.pulled:
            location = args.files.shared(part, uid=user_id(args.user))
        if location is not None and location.startswith("/"):
            return Mount(source=location, target=target)
        volume = data_volume(
            f"{self._name}-{part}",
            location or args.identity.object_name(part),
            "ray",
            identity=args.identity,
            opts=pulumi.ResourceOptions(parent=self),
        )
        return Mount(source=volume.name, target=target, bind=False)


CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")


def report_path(service: str) -> str:
    """The path of a guard's report on the use of the scratch folder."""
    return f"{SCRATCH}/use/{service}.json"
