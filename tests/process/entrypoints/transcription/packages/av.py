"""In place of PyAV: the error that the recognizer knows."""


class FFmpegError(Exception):
    """A file cannot be read."""
