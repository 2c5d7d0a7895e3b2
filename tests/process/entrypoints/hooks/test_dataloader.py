"""Start of a DataLoader's worker processes, and the error about other processes."""

import multiprocessing
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from entrypoints.hooks import dataloader
from testing.harness import PROJECT

ROOT = PROJECT


class Iterator:
    """As torch's own, as far as it asks for a context."""

    def __init__(self, loader: Any) -> None:
        self.context = loader.multiprocessing_context


def started(*, default: str = "forkserver", chosen: bool = False, own: object = None) -> tuple[object, object]:
    """The context that workers were started with, and what the loader says of it afterwards."""

    class Loader:
        def __init__(self) -> None:
            self._DataLoader__multiprocessing_context = own

        @property
        def multiprocessing_context(self) -> object:
            return self._DataLoader__multiprocessing_context

    module = ModuleType("torch.utils.data.dataloader")
    module._MultiProcessingDataLoaderIter = type("Iter", (Iterator,), {})  # type: ignore[attr-defined]
    dataloader.hook_loader(module)
    state = SimpleNamespace(_default_context=SimpleNamespace(_name=default), **{dataloader.CHOSEN: chosen})
    loader = Loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiprocessing.context, "_default_context", state)
        return module._MultiProcessingDataLoaderIter(loader).context, loader.multiprocessing_context


class TestDataLoader:
    def test_workers_are_forked_where_nobody_chose(self) -> None:
        context, after = started()
        assert context is multiprocessing.get_context("fork")
        assert after is None

    def test_a_loader_s_own_context_stays(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        assert started(own=spawn) == (spawn, spawn)

    def test_a_program_s_choice_stays(self) -> None:
        assert started(chosen=True)[0] is None

    def test_where_python_forks_nothing_changes(self) -> None:
        assert started(default="fork")[0] is None


class TestOtherProcesses:
    def test_an_object_that_is_not_found_says_what_to_do(self) -> None:
        program = f"""
import multiprocessing, sys
sys.path.insert(0, {str(ROOT)!r})
from entrypoints.hooks import dataloader
import multiprocessing.reduction
dataloader.hook_reduction(multiprocessing.reduction)
def run():
    def local(): pass
    multiprocessing.get_context("forkserver").Process(target=local).start()
try:
    run()
except Exception as error:
    print(error.__notes__[-1])
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert "multiprocessing.get_context('fork').Process" in done.stdout

    def test_a_choice_is_remembered(self) -> None:
        program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import multiprocessing.context
from entrypoints.hooks import dataloader
dataloader.hook_context(multiprocessing.context)
import multiprocessing
default = multiprocessing.context._default_context
default._default_context = multiprocessing.get_context("forkserver")
assert dataloader.wants_fork()
multiprocessing.get_start_method()
assert dataloader.wants_fork()
multiprocessing.context.DefaultContext.set_start_method(default, "forkserver", force=True)
assert not dataloader.wants_fork()
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def test_every_hook_of_the_table_exists(self) -> None:
        from entrypoints.hooks.registry import HOOKS

        own = [hook for hooks in HOOKS.values() for hook in hooks if hook.startswith("dataloader:")]
        assert len(own) == 3
        assert all(callable(getattr(dataloader, hook.partition(":")[2])) for hook in own)
