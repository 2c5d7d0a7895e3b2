"""`python -m ws`."""

import sys

from ws.cli import main

sys.exit(main())
