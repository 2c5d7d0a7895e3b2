"""Where images come from, where the settings leave it open (`auto`): probed once, then kept.

Kept in the state folder, because an answer that changes with the weather of the network would rebuild every image.
"""

import http.client
import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from components.files import write_atomically
from components.settings import ImagesSettings
from images.base.recipe import Source
from images.catalog import Flavour

IMAGE_REGISTRY = "https://registry-1.docker.io/v2/"
PYTORCH_INDEX = "https://download.pytorch.org/whl"
PROBE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What was chosen."""

    bases: Source
    torch: Flavour


def choose_sources(images: ImagesSettings, *, gpu: bool, kept: Path, dry_run: bool) -> tuple[Sources, tuple[str, ...]]:
    """The sources for a stack, and a sentence on each one that was probed just now.

    `kept` is the file with earlier answers; it is written unless `dry_run`. Deleting it probes again.
    """
    answers = _read(kept)
    probed: dict[str, str] = {}
    notes: list[str] = []
    bases = images.bases if images.bases != "auto" else answers.get("bases")
    if bases is None:
        answered = reachable(IMAGE_REGISTRY, needed_header="docker-distribution-api-version")
        bases = probed["bases"] = "registry" if answered else "bootstrap"
        notes.append(f"bases: {bases} (the image registry {'answers' if answered else 'does not answer'})")
    torch = images.torch if images.torch != "auto" else ("cuda" if gpu else answers.get("torch"))
    if torch is None:
        answered = reachable(f"{images.mirrors.pytorch or PYTORCH_INDEX}/cpu/torch/")
        torch = probed["torch"] = "cpu" if answered else "cuda"
        reason = "answers" if answered else "does not answer; this build runs on CPUs as well"
        notes.append(f"torch: {torch} (PyTorch's index of CPU wheels {reason})")
    if probed and not dry_run:
        write_atomically(kept, json.dumps({**answers, **probed}).encode(), 0o600)
    chosen = Sources(
        bases="registry" if bases == "registry" else "bootstrap", torch="cpu" if torch == "cpu" else "cuda"
    )
    return chosen, tuple(notes)


def _read(kept: Path) -> dict[str, str]:
    try:
        answers = json.loads(kept.read_text())
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def reachable(url: str, *, needed_header: str | None = None) -> bool:
    """Whether the server itself answers within `PROBE_SECONDS`, and no proxy's page in its place."""
    answers: list[bool] = []
    # A thread, because the timeout of a socket bounds neither a slow resolver nor an answer that drips in.
    probe = threading.Thread(target=lambda: answers.append(_answers(url, needed_header)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return answers == [True]


def _answers(url: str, needed_header: str | None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as answer:  # noqa: S310 (https, from settings)
            return needed_header is None or needed_header in answer.headers
    except urllib.error.HTTPError as error:
        # A registry asks for a login first; that is an answer.
        return needed_header is not None and needed_header in error.headers
    except (OSError, http.client.HTTPException, ValueError):
        return False
