"""Loads batches of video clips in worker processes: ``loader.py task|actor|driver [BATCHES]``.

The class is defined in the script, as most are. Without Ray (`plain`) it is what a notebook does.
"""

import sys

import torch
from torch.utils.data import DataLoader, Dataset

way, batches = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8


class Clips(Dataset):
    def __len__(self):
        return 2 * batches

    def __getitem__(self, number):
        return torch.full((3, 16, 224, 224), float(number // 2)), {"number": number, "label": str(number)}


def load():
    loader = DataLoader(Clips(), batch_size=2, num_workers=2)
    return [float(clips.mean()) for _ in range(2) for clips, _ in loader]


def main():
    if way in ("plain", "driver"):
        means = load()
    else:
        import ray

        ray.init(log_to_driver=False)

        class Loader:
            def load(self):
                return load()

        if way == "task":
            means = ray.get(ray.remote(load).remote())
        else:
            means = ray.get(ray.remote(Loader).remote().load.remote())
    assert means == [float(number) for number in range(batches)] * 2, means
    print("loaded:", batches, "batches, twice")


if __name__ == "__main__":
    main()
