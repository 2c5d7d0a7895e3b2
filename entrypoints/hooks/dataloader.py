"""DataLoader workers of PyTorch on Python 3.14: forked, as on earlier versions, unless the program chooses otherwise.

Python 3.14 starts processes by forkserver on Linux. Such a worker gets its data set by pickle, which finds no class
that a Ray task or a notebook cell defines: "Can't pickle <class '__main__.Clips'>: it's not found as __main__.Clips".
Each worker also imports torch again. Workers of a DataLoader use neither Ray nor, as PyTorch demands of them, CUDA, and
run torch with one thread, so fork is as safe for them as it has been (docs/decisions/0024-dataloader-workers.md). Other
processes keep Python's default, and an error says what to do. A program's own choice, by
``multiprocessing_context=`` or ``multiprocessing.set_start_method``, is respected. Standard library only.
"""

from __future__ import annotations

import multiprocessing
import sys
from types import ModuleType
from typing import Any

CONTEXT = "_DataLoader__multiprocessing_context"
CHOSEN = "_cslr_start_method_was_chosen"
NOTE = (
    "Python {version} starts processes by {method}, which pickles what they get, and finds nothing that a script, a Ray"
    " task or a notebook cell defines. Import it from a module of your working_dir, or start these processes by fork: "
    "multiprocessing.get_context('fork').Process(...), or multiprocessing.set_start_method('fork') before the first."
)


def hook_context(module: ModuleType) -> None:
    """Change `multiprocessing.context`: remember whether the program chose a way to start processes."""
    default = module.DefaultContext
    set_start_method = default.set_start_method

    def set_and_remember(self: Any, method: str | None, force: bool = False) -> None:  # noqa: ANN401
        set_start_method(self, method, force)
        setattr(self, CHOSEN, method is not None)

    default.set_start_method = set_and_remember


def hook_loader(module: ModuleType) -> None:
    """Change `torch.utils.data.dataloader`: workers are forked unless the program chose otherwise."""
    iterator = module._MultiProcessingDataLoaderIter
    start = iterator.__init__

    def start_by_fork(self: Any, loader: Any) -> None:  # noqa: ANN401
        # The loader remembers a context, but refuses to be given one after its first worker has started.
        if loader.multiprocessing_context is None and wants_fork():
            vars(loader)[CONTEXT] = multiprocessing.get_context("fork")
            try:
                start(self, loader)
            finally:
                vars(loader)[CONTEXT] = None
        else:
            start(self, loader)

    iterator.__init__ = start_by_fork


def wants_fork() -> bool:
    """Whether Python's own default applies, and is not fork."""
    default: Any = multiprocessing.context._default_context
    return not getattr(default, CHOSEN, False) and default._default_context._name == "forkserver"


def hook_reduction(module: ModuleType) -> None:
    """Change `multiprocessing.reduction`: errors about unpicklable objects for a new process say what to do."""
    dump = vars(module)["dump"]

    def dump_or_explain(obj: object, file: Any, protocol: int | None = None) -> None:  # noqa: ANN401
        try:
            dump(obj, file, protocol)
        except Exception as error:
            if "__main__" in str(error) or "local object" in str(error):
                method = multiprocessing.get_start_method(allow_none=True) or "forkserver"
                version = f"{sys.version_info[0]}.{sys.version_info[1]}"
                if hasattr(error, "add_note"):  # Python 3.11
                    error.add_note(NOTE.format(version=version, method=method))
            raise

    vars(module)["dump"] = dump_or_explain
