"""The registry of hooks: functions that patch Ray and other libraries, each applied when its target is first imported.

The libraries have no settings for these changes. Each hook is a function that takes the imported module and replaces
what it must. Its own module stands alone: it is imported as ``cslr_hooks.NAME``, so that no program's own
``entrypoints`` is hidden. A library without the place to patch keeps its own behaviour, and one line on stderr says so.
Runs in every Python process of a Ray container (site/sitecustomize.py), so it imports nothing that it does not need:
standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

# Module of Ray → the hooks that change it, as "module of entrypoints:function".
HOOKS: dict[str, tuple[str, ...]] = {
    "marimo._server.main": ("marimo_origin:hook_server", "marimo_idle:hook_server"),
    "mlflow.tracking._tracking_service.client": ("mlflow_links:hook_client",),
    "mlflow.utils.credentials": ("mlflow_login:hook_credentials",),
    "multiprocessing.context": ("dataloader:hook_context",),
    "multiprocessing.reduction": ("dataloader:hook_reduction",),
    "ray._private.external_storage": ("spilling:name_files_after_jobs",),
    "ray._private.node": ("log_names:hook_node",),
    "ray.dashboard.modules.job.job_log_storage_client": ("job_logs:read_shortened_logs",),
    "ray._raylet": ("package_hooks:store_values",),
    "ray.dashboard.modules.job.job_head": ("package_hooks:answer_when_full",),
    "ray.dashboard.http_server_agent": ("package_hooks:serve_packages",),
    "ray._private.runtime_env.context": ("runtime_packages:hook_context",),
    "ray._private.runtime_env.pip": ("runtime_packages:hook_pip",),
    "ray._private.runtime_env.uv": ("runtime_packages:hook_uv",),
    "ray.train.constants": ("storage_path:hook_constants",),
    "torch.utils.data.dataloader": ("dataloader:hook_loader",),
}


class HookLoader(importlib.abc.Loader):
    """Loads a module as its own loader does, then applies the hooks."""

    def __init__(self, loader: importlib.abc.Loader, hooks: Sequence[str]) -> None:
        self._loader = loader
        self._hooks = hooks

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """See the base class."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """See the base class."""
        self._loader.exec_module(module)
        for hook in self._hooks:
            apply(hook, module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)  # get_source and the like, which tracebacks and pickle use


class HookFinder(importlib.abc.MetaPathFinder):
    """Finds modules that have hooks, each once, and leaves all others to the next finders."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See the base class."""
        if name not in HOOKS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            spec.loader = HookLoader(spec.loader, HOOKS[name])
        return spec


def apply(hook: str, module: ModuleType) -> None:
    """Apply a hook to its module; a hook that fails leaves the module unchanged, and a line on stderr says so."""
    name, _, function = hook.partition(":")
    try:
        getattr(importlib.import_module(f"{__package__}.{name}"), function)(module)
    except Exception as error:  # noqa: BLE001 (Ray of another version must still start)
        print(f"[ray-hooks] {hook} does not fit {module.__name__}: {error!r}", file=sys.stderr, flush=True)


def install() -> None:
    """Install the finder, so that hooks are applied from now on."""
    if HOOKS and not any(isinstance(finder, HookFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, HookFinder())
