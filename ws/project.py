"""Where the program is."""

from pathlib import Path

FOLDER = Path(__file__).parent.parent
