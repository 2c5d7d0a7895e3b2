"""The sound of a medium, as speech recognition wants it.

Not faster-whisper's own decoder: release 1.2.1 gives av.open an argument that PyAV 19, which the images of Ray's nodes
hold, has not; and it ends at the first damaged packet, of which broadcasts have some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entrypoints.transcription.failures import RefusedError

RATE = 16000  # samples a second


def sound_of(file: Path) -> Any:  # noqa: ANN401 - an array of a package that only images have
    """Return a medium's sound in one channel, as numbers from -1 to 1; raises RefusedError."""
    import av
    import numpy as np

    parts = [np.zeros(0, dtype=np.int16)]
    try:
        with av.open(str(file), **_lenient(av)) as container:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            for packet in container.demux(audio=0):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    continue
                for frame in frames:
                    parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(frame)]
            parts += [part.to_ndarray().reshape(-1) for part in resampler.resample(None)]
    except (av.FFmpegError, IndexError, ValueError, OSError) as error:
        reason = f"{file.name} has no sound that can be read ({error})."
        raise RefusedError(400, "invalid_media", reason, param="file") from None
    return np.concatenate(parts).astype(np.float32) / 32768


def _lenient(av: Any) -> dict[str, str]:  # noqa: ANN401 - the package
    """Titles in an old encoding are no reason to refuse a medium; since PyAV 19 they never are."""
    return {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
