"""Docker healthcheck: 0 when every URL answers 200, else 1 and the reason: http_health.py URL [URL...].

One file, standard library only, Python 3.10 or newer.
"""

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3.0


def failure(url: str) -> str:
    """Return why a GET of the URL (http only) does not get 200; empty if it does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"{url} answered {status}"


if __name__ == "__main__":
    failures = [reason for reason in map(failure, sys.argv[1:]) if reason]
    print("; ".join(failures) or "healthy")
    sys.exit(1 if failures else 0)
