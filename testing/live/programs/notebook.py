"""A notebook as people write them: a class in a cell, and in another a DataLoader with workers that uses it."""

import marimo

app = marimo.App()


@app.cell
def _():
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Clips(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, number):
            return torch.full((3, 16, 224, 224), float(number // 2))

    return Clips, DataLoader


@app.cell
def _(Clips, DataLoader):  # noqa: N803 (names of a notebook are its cells' arguments)
    means = [float(batch.mean()) for batch in DataLoader(Clips(), batch_size=2, num_workers=2)]
    assert means == [0.0, 1.0, 2.0, 3.0], means
    print("notebook:", len(means), "batches")
    return


if __name__ == "__main__":
    app.run()
