"""In place of the decoder, which needs PyAV and numpy: a file's own text is its sound, a second for each word."""

import sys
from pathlib import Path
from types import ModuleType

RATE = 16000


def sound_of(file: Path) -> list[str]:
    """Return the words of a file."""
    return [word for word in file.read_text(encoding="utf-8").split() for _ in range(RATE)]


module = ModuleType("entrypoints.transcription.sound")
module.__dict__.update(RATE=RATE, sound_of=sound_of)
sys.modules[module.__name__] = module
