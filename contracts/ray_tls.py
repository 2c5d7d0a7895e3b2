"""The certificate by which Ray's processes and clients know each other (`ray.tls`): its files, and how Ray is told.

Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

AUTHORITY, CERTIFICATE, KEY = "ray-authority.pem", "ray-tls.pem", "ray-tls.key"
FILES = (AUTHORITY, CERTIFICATE, KEY)
FOLDER = "/run/secrets"


def environment(folder: PurePath | str = FOLDER) -> Mapping[str, str]:
    """What tells Ray to use the files. It takes one certificate for both ends of its connections."""
    return {
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": f"{folder}/{CERTIFICATE}",
        "RAY_TLS_SERVER_KEY": f"{folder}/{KEY}",
        "RAY_TLS_CA_CERT": f"{folder}/{AUTHORITY}",
    }
