"""Recognises build failures that may disappear on a retry: of the network, and of a restarting daemon.

Two tables of what programs say. BuildKit of Docker 20.10 can end its daemon where two builds share stages (a panic in
its CalcSlowCache); systemd, or `ws`, starts it again.
"""

import re

# Of one that is about contents, however much of its log tells of the network: it will be the same again.
LASTING = (
    r"hash mismatch|Hash Sum mismatch|hashes are required|HashMismatch",
    r"No space left on device|no space left on device",
    r"over its \d",  # build_report's sentence on a budget
    r"40[0134] (Unauthorized|Forbidden|Not Found|Bad Request)|(403|404)  (Forbidden|Not Found)",
    r"No solution found when resolving|No matching distribution found|Unable to locate package",
    r"ninja: build stopped|: error: |fatal error:|undefined reference",
    r"dockerfile parse error|failed to read dockerfile|failed to calculate checksum",
    r"authentication is required|unauthorized: |denied: ",
)
NETWORK = (
    # Resolvers
    r"Temporary failure (resolving|in name resolution)|Could not resolve|dns error|server misbehaving|no such host",
    # apt and debootstrap
    r"Unable to connect to |Failed to fetch .* (5\d\d|Connection|Could not connect|Unable to connect)",
    r"Couldn't download|Failed getting release file|Failed to retrieve",
    # uv and pip
    r"error sending request|[Cc]onnection (reset|closed|aborted|refused)|ConnectionResetError|NewConnectionError",
    r"Max retries exceeded|Request failed after \d+ retries|operation timed out|Read timed out|tls handshake eof",
    r"HTTP status server error \(5\d\d|error decoding response body|IncompleteRead|end of file before message length",
    # Docker and registries
    r"TLS handshake timeout|i/o timeout|Client\.Timeout|context deadline exceeded|unexpected EOF",
    r"unexpected HTTP status:? 5\d\d|toomanyrequests|429 Too Many Requests|50[0234] (Internal|Bad|Service|Gateway)",
    # A daemon that went away
    r"Remote end closed connection|error during connect|Cannot connect to the Docker daemon",
    r"Docker (did|does) not answer",
    # Kernel
    r"Connection timed out|[Nn]etwork is unreachable|[Nn]o route to host|Broken pipe",
)


def is_network_failure(error: str) -> bool:
    """Whether it is worth trying again what failed with this error."""
    return not _says(LASTING, error) and _says(NETWORK, error)


def _says(patterns: tuple[str, ...], text: str) -> bool:
    return any(re.search(pattern, text) for pattern in patterns)
