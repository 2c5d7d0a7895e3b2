"""Where containers find a host's datasets, and what Ray's nodes offer for each."""

from __future__ import annotations

FOLDER = "/data"  # in nodes and notebooks: /data/NAME
# In the transcription service, which keeps its own files in /data: the folder `datasets` of its tree.
TRANSCRIPTION_FOLDER = "/media/datasets"
# Of the resource `dataset:NAME`, on each node that mounts the dataset. It says where the data is and limits nothing, so
# no task that asks for some of it may ever wait for another: neither one that asks for 1 nor one for 0.001.
AMOUNT = 1_000_000


def target(service: str, name: str) -> str:
    """Return where a service's container has a dataset."""
    return f"{TRANSCRIPTION_FOLDER if service == 'transcription' else FOLDER}/{name}"


def resource(name: str) -> str:
    """Return the resource that tasks ask for, to run where a dataset is."""
    return f"dataset:{name}"
