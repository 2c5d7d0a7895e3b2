"""torch over several processes: loading data, and talking to each other."""

import tempfile
from pathlib import Path

import torch
from torch import distributed
from torch.utils.data import DataLoader, TensorDataset


def check_workers_load_data() -> None:
    """Needs torch_shm_manager and /dev/shm."""
    data = TensorDataset(torch.arange(1000.0).reshape(100, 10))
    loaded = torch.cat([batch for (batch,) in DataLoader(data, batch_size=10, num_workers=2, timeout=60)])
    assert torch.equal(loaded, data.tensors[0])


def check_tensors_are_shared_by_file_name() -> None:
    """The sharing that torch_shm_manager looks after."""
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy("file_system")
    try:
        assert torch.ones(10).share_memory_().is_shared()
    finally:
        torch.multiprocessing.set_sharing_strategy(before)


def check_group_of_processes_adds_up(device: str) -> None:
    """Gloo; NCCL, loaded and initialized."""
    with tempfile.TemporaryDirectory() as folder:
        store = distributed.FileStore(str(Path(folder, "store")), 1)
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", store=store, rank=0, world_size=1)
        try:
            number = torch.full((4,), 3.0, device=device)
            distributed.all_reduce(number)
            assert number.tolist() == [3.0] * 4
        finally:
            distributed.destroy_process_group()
