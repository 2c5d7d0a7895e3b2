"""Unit tests are pure."""

from testing.purity import install, pure

__all__ = ["pure"]

install()
