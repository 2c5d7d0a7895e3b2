"""Failures that are retried: real messages of programs, for network failures and for others."""

import pytest

from ws.network_failures import is_network_failure

NETWORK = [
    "E: Failed to fetch http://mirror.example.org/x.deb  Temporary failure resolving 'mirror.example.org'",
    "E: Failed to fetch http://mirror.example.org/x.deb  503  Service Unavailable [IP: 192.0.2.1 80]",
    "E: Failed to fetch http://mirror.example.org/x.deb  Connection timed out [IP: 192.0.2.1 80]",
    "E: Unable to connect to mirror.example.org:http:",
    "E: Couldn't download debian-archive-keyring",
    "E: Failed getting release file http://mirror.example.org/debian/dists/forky/Release",
    "error: Failed to fetch: `https://index.example.org/simple/torch/`\n  Caused by: error sending request for url (https://index.example.org)",
    "  Caused by: client error (Connect)\n  Caused by: dns error: failed to lookup address information",
    "  Caused by: HTTP status server error (502 Bad Gateway) for url (https://files.example.org/x.whl)",
    "  Caused by: Connection reset by peer (os error 104)",
    "  Caused by: tls handshake eof",
    "  Caused by: operation timed out",
    "  Caused by: error decoding response body",
    "  Caused by: end of file before message length reached",
    "error: Request failed after 3 retries",
    "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='x.org', port=443): Read timed out.",
    "Max retries exceeded with url: /simple/x (Caused by NewConnectionError('Failed to establish a new connection'))",
    'Get "https://registry-1.docker.io/v2/": net/http: TLS handshake timeout',
    'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
    "dial tcp 10.0.0.1:5000: connect: connection refused",
    "dial tcp 10.0.0.1:5000: i/o timeout",
    "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
    "received unexpected HTTP status: 500 Internal Server Error",
    "toomanyrequests: You have reached your pull rate limit",
    "dial tcp 10.0.0.1:443: connect: network is unreachable",
    "failed to copy: httpReadSeeker: failed open: unexpected EOF",
    "Docker did not answer POST /build: ('Connection aborted.', RemoteDisconnected('Remote end closed connection'))",
    "error building image: error during connect: Post http://docker/build: EOF",
    "[cuda 2/2] RUN install.py cuda failed: exit code: 1\nwarning: slow\nerror sending request for url (https://x)",
]
LASTING = [
    "",
    "exit code: 1",
    "error: Hash mismatch for `torch==2.13.0`\n  Expected: sha256:a\n  Computed: sha256:b",
    "  hash mismatch for x",
    "E: Failed to fetch http://mirror.example.org/x.deb  Hash Sum mismatch",
    "E: Failed to fetch http://mirror.example.org/x.deb  404  Not Found [IP: 192.0.2.1 80]",
    "E: Unable to locate package python3.15",
    "  Caused by: HTTP status client error (403 Forbidden) for url (https://x)",
    "x No solution found when resolving dependencies:",
    "kernel.cu:7: error: identifier is undefined\nninja: build stopped: subcommand failed.",
    "warning: Connection reset by peer, retrying\nmain.c:3:1: fatal error: cuda.h: No such file or directory",
    "write /usr/lib/x.so: No space left on device",
    'layer.torch."cuda13.1.1": 1.92 GB, 120 MB (7 %) over its 1.80 GB',
    "dockerfile parse error line 3: unknown instruction: RNU",
    "denied: requested access to the resource is denied",
    "unauthorized: authentication required",
    "was interrupted",
    "AssertionError: 502 is not 503",
]


class TestNetworkFailure:
    @pytest.mark.parametrize("error", NETWORK)
    def test_is_tried_again(self, error):
        assert is_network_failure(error)

    @pytest.mark.parametrize("error", LASTING)
    def test_is_none_of_these_which_would_fail_again(self, error):
        assert not is_network_failure(error)
