"""Requests of health checks in access logs, which nobody wants to read."""

import re

# `GET /health` of the containers' own checks, and what the health service asks besides; below a path prefix as well.
PROBE = re.compile(
    r"\b(?:GET|HEAD) (?:/[\w.~%-]+)*/(?:health|healthz|version|api/version|api/gcs_healthz|api/status)/? "
    r'HTTP/[\d.]+"? (?:- )?2\d\d\b'
)


def is_probe(text: str) -> bool:
    """Whether a line of an access log belongs to a successful health check."""
    return bool(PROBE.search(text))
