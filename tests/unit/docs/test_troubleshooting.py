"""docs/troubleshooting.md quotes messages: each quote of ours exists in the code."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
PAGE = PROJECT / "docs" / "troubleshooting.md"
FOLDERS = (
    "build_report", "components", "config", "coordination", "docker_api", "embedded_engine", "entrypoints", "images",
    "policy", "preflight", "stack", "verification", "ws",
)  # fmt: skip
SHORTEST = 3  # words of a clause by which a message is recognised
# Clauses that are made of values of the run, or are not messages.
EXAMPLES = (
    "1 running job would end", "1 running job began meanwhile", "make down VOLUMES 1", "Pulumi s pulumi resource",
    "but ray cpu needs it", "of ray cpu and", "of ray gpu are", "does not satisfy the version range",
)  # fmt: skip
GAP = "\0"  # in the place of a value that is only known at run time
FOREIGN = ("Pulumi: ", "Ray: ", "Ray Client: ", "MLflow: ", "MLflow from a task: ", "A task cannot write: ", "output `")


def texts(source: str) -> list[str]:
    """All string constants of a program, adjacent ones joined."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values]
            found.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.fixture(scope="module")
def said() -> str:
    programs = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.py")] + [PROJECT / "program.py"]
    shell = [path.read_text() for path in (PROJECT / "entrypoints").rglob("*.sh")]
    shell.append((PROJECT / "Makefile").read_text())
    return "\n".join([text for path in programs for text in texts(path.read_text())] + shell)


def quotes() -> list[str]:
    """The quoted messages in the first column, up to `## Verification` also those of the second one's checks."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| What")]
    firsts = [re.split(r"(?<!\\) \| ", row[2:])[0] for row in rows]
    return [quote for first in firsts if not first.startswith(FOREIGN) for quote in re.findall(r"`([^`]+)`", first)]


def clauses(quote: str) -> list[list[str]]:
    """The words of each part that is long enough to stand for one message."""
    parts = re.split(r"…|[,:;()]", quote)
    found = [re.findall(r"\w+", part) for part in parts]
    return [words for words in found if len(words) > SHORTEST and " ".join(words) not in EXAMPLES]


@pytest.mark.parametrize("quote", quotes())
def test_every_quoted_message_exists(quote, said):
    for words in clauses(quote):
        assert exists(words, said), f"no message says {' '.join(words)!r}"


def test_a_quote_of_no_message_is_found_out(said):
    assert not exists(["the", "moon", "does", "not", "shine", "here"], said)


def exists(words: list[str], said: str) -> bool:
    """Whether some neighbouring words are in a message; others may be values of the run."""
    windows = [words[at : at + SHORTEST] for at in range(len(words) - SHORTEST + 1)]
    return any(re.search(r"\b" + r"\W+".join(map(re.escape, window)) + r"\b", said) for window in windows)
