"""What containers of Prometheus' programs have in common: they are in Go, and their image has no Python."""

from components.docker import MEBIBYTE, Healthcheck

# Go returns memory only when it must: it is told to before the kernel ends it.
GO_SHARE = 0.9


def answers(port: int, path: str = "/-/ready") -> Healthcheck:
    """The check that a program answers at a path."""
    return Healthcheck(
        command=("busybox", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{port}{path}"),
        interval=3,
        start_period=60,
    )


def go_limits(memory: int) -> dict[str, str]:
    """The environment that keeps a program in Go within a container with this much memory."""
    return {"GOMEMLIMIT": f"{int(memory * GO_SHARE) // MEBIBYTE}MiB"}
