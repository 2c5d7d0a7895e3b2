"""Programs that end with the command that started them, however that ends: what is started next would meet them."""

import ctypes
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def ends_with_parent(by: signal.Signals) -> Callable[[], None]:
    """Returns what `subprocess` is to run in the child: the kernel then sends it the signal when its parent ends."""

    def ask() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)

    return ask
