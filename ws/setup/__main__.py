"""`python -m ws.setup`: makes Docker answer, as `ws up` does first. For `make test` and CI."""

import sys
from functools import partial

from ws.errors import WsError
from ws.setup.docker import ensure, ensure_debootstrap

say = partial(print, flush=True)
try:
    ensure(say)
    ensure_debootstrap(say)
except WsError as error:
    sys.exit(str(error))
