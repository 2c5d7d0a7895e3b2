"""The ML image's site-packages path, computed for the Python that runs the tests."""

import sys

from images.ml import trim

SITE = trim.SITE.replace("python3*", f"python3.{sys.version_info.minor}")
