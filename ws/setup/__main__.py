"""`python -m ws.setup`: makes Docker answer, as `ws up` does first. For `make test` and CI."""

import sys

from ws.errors import WsError
from ws.setup.docker import ensure, ensure_debootstrap

try:
    ensure(print)
    ensure_debootstrap(print)
except WsError as error:
    sys.exit(str(error))
