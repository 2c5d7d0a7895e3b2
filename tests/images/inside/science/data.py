"""Numbers and tables: the libraries that data is prepared, kept and drawn with."""

import io
import tempfile
from pathlib import Path

import einops
import h5py
import matplotlib as mpl
import numpy
import pandas
import scipy.optimize
import scipy.signal
import sklearn.datasets
import sklearn.linear_model
import torch
from PIL import Image


def check_scipy_solves_and_filters() -> None:
    """Compiled parts of several of its packages."""
    found = scipy.optimize.minimize(lambda x: float(((x - 3.0) ** 2).sum()), numpy.zeros(4))
    assert numpy.allclose(found.x, 3.0, atol=1e-4)
    tone = numpy.sin(2 * numpy.pi * 5 * numpy.arange(200) / 200)
    frequencies, power = scipy.signal.periodogram(tone, fs=200)
    assert frequencies[power.argmax()] == 5


def check_pandas_groups_and_keeps_tables() -> None:
    """A table goes through CSV and comes back the same."""
    table = pandas.DataFrame({"sign": ["a", "b", "a"], "seconds": [1.0, 2.0, 4.0]})
    assert table.groupby("sign")["seconds"].sum().to_dict() == {"a": 5.0, "b": 2.0}
    assert pandas.read_csv(io.StringIO(table.to_csv(index=False))).equals(table)


def check_sklearn_learns() -> None:
    """A classifier that is right about what it has seen."""
    points, classes = sklearn.datasets.make_blobs(n_samples=200, centers=3, random_state=0, cluster_std=0.5)
    assert sklearn.linear_model.LogisticRegression().fit(points, classes).score(points, classes) > 0.95


def check_h5py_reads_what_it_wrote() -> None:
    """With compression, as data sets of features are kept."""
    values = numpy.arange(6000, dtype=numpy.float32).reshape(60, 100)
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(Path(folder, "features.h5"), "w") as file:
            file.create_dataset("clip/features", data=values, compression="gzip", chunks=(10, 100))
        with h5py.File(Path(folder, "features.h5")) as file:
            assert (file["clip/features"][:] == values).all()


def check_einops_works_on_tensors() -> None:
    """Frames to patches and their mean."""
    frames = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    patches = einops.rearrange(frames, "t c (h p) (w q) -> t (h w) (c p q)", p=2, q=2)
    assert patches.shape == (2, 4, 12)
    assert torch.equal(einops.reduce(frames, "t c h w -> t", "mean"), frames.flatten(1).mean(1))


def check_matplotlib_draws_without_a_screen() -> None:
    """By the renderer that a job has."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    axes.plot([0, 1], [0, 1], label="µ")
    axes.set_title("loss")
    axes.legend()
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        assert Image.open(file).size[0] > 100
    pyplot.close(figure)
