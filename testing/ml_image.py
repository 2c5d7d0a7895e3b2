"""Where the ML image keeps Python's packages, if its Python were the one that runs the tests."""

import sys

from images.ml import trim

SITE = trim.SITE.replace("python3*", f"python3.{sys.version_info.minor}")
