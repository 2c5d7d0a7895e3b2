"""A task that runs where a dataset is, reads a file of it, and tries to change it."""

import errno
import sys
from pathlib import Path

import ray

ray.init(log_to_driver=False)


@ray.remote(num_cpus=0, resources={f"dataset:{sys.argv[1]}": 0.001})
def read(folder: Path) -> str:
    try:
        (folder / "new").touch()
    except OSError as error:
        return f"{(folder / 'one').read_text()}, {errno.errorcode[error.errno or 0]}"
    return "was written"


print("dataset:", ray.get(read.remote(Path("/data", sys.argv[1]))))
