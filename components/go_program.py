"""What containers of Prometheus' programs have in common: they are in Go."""

from components.docker import MEBIBYTE

# Go returns memory only when it must: it is told to before the kernel ends it.
GO_SHARE = 0.9


def go_limits(memory: int) -> dict[str, str]:
    """The environment that keeps a program in Go within a container with this much memory."""
    return {"GOMEMLIMIT": f"{int(memory * GO_SHARE) // MEBIBYTE}MiB"}
