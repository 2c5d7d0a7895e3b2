"""Whether a container still may use the GPUs that it was given. Standard library only, Python 3.10 or newer.

`systemctl daemon-reload` on the host takes the GPUs from running containers, where Docker leaves cgroups to systemd:
the device files are there, but opening one is not permitted, and NVML says "Unknown Error". Only a restart of the
container gives them back (NVIDIA/nvidia-container-toolkit#48).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

CONTROL_DEVICE = Path("/dev/nvidiactl")


def cut_off(device: Path = CONTROL_DEVICE) -> bool:
    """Whether the device is there and may not be opened any more."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EPERM  # a lack of file permissions is EACCES
    return False
