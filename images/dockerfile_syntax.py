"""Splits a Dockerfile into instructions, with continued lines joined as BuildKit joins them.

Tags of images are digests of these instructions. If one were lost or misread, an edit of it would leave a stale image
in use, so whatever is not understood exactly is refused, with its line and what to write instead.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

INSTRUCTIONS = frozenset(
    {
        "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "SHELL",
        "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    }
)  # fmt: skip
REFUSED = {
    "ONBUILD": ("ONBUILD acts in builds on this image, not here", "Write the instruction where it acts."),
    "MAINTAINER": ("MAINTAINER is deprecated", "Use LABEL org.opencontainers.image.authors=…"),
}
DIRECTIVE = re.compile(r"\s*#\s*(escape|syntax)\s*=", re.IGNORECASE)
CONTINUED = re.compile(r"(^|[^\\])\\$")
BLANKS = " \t"


class DockerfileError(ValueError):
    """A Dockerfile contains syntax that this module does not understand."""

    def __init__(self, line: int, reason: str, remedy: str) -> None:
        super().__init__(f"line {line}: {reason}. {remedy}")
        self.line = line
        self.reason = reason
        self.remedy = remedy
        self.file = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.file else f"line {self.line}"
        return f"{where}: {self.reason}. {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction without comments, on one line."""

    word: str  # upper case
    rest: str
    line: int  # where it begins, from 1

    @property
    def text(self) -> str:
        """The whole instruction."""
        return f"{self.word} {self.rest}"

    def refuse(self, reason: str, remedy: str) -> DockerfileError:
        """The error for this instruction."""
        return DockerfileError(self.line, reason, remedy)


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, in order.

    Raises:
        DockerfileError: something in it is not understood.
    """
    text = text.replace("\r\n", "\n")
    lines = text.split("\n")
    _refuse_directives(lines)
    whole: str | None = None  # an instruction that continues on the next line
    begin = 0
    for number, line in enumerate(lines, start=1):
        _refuse_characters(number, line)
        if not line.strip(BLANKS) or line.lstrip(BLANKS).startswith("#"):
            continue  # also inside an instruction
        if whole is None:
            whole, begin = "", number
        body = line.rstrip(BLANKS)
        more = CONTINUED.search(body)
        whole = _joined(whole, body[:-1] if more else body)
        if not more:
            yield _instruction(whole, begin)
            whole = None
    if whole is not None:
        yield _instruction(whole, begin)


def _joined(before: str, line: str) -> str:
    """Joins text with its continuation line. Keeps indentation that a shell may see."""
    body = line.lstrip(BLANKS)
    indent = line[: len(line) - len(body)]
    if not before.strip(BLANKS):
        return body
    if _is_open(before):
        return before + indent + body
    return before + (" " if indent and before[-1] not in BLANKS else "") + body


def _is_open(text: str) -> bool:
    """Whether a quotation is still open after a text, or its last character is escaped."""
    quote, escaped = "", False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
            if position == len(text) - 1:
                return True
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote = ""
        elif character in "\"'" and not quote:
            quote = character
    return bool(quote) or escaped


def _stripped(text: str) -> str:
    """Without the blanks around it, but with one that is escaped: it is an argument of the shell."""
    body = text.strip(BLANKS)
    blanks = text[text.rindex(body) + len(body) :]
    backslashes = len(body) - len(body.rstrip("\\"))
    return body + blanks[: backslashes % 2]


def _instruction(whole: str, line: int) -> Instruction:
    word, rest = (*whole.split(maxsplit=1), "", "")[:2]
    found = Instruction(word=word.upper(), rest=_stripped(rest), line=line)
    if found.word in REFUSED:
        raise found.refuse(*REFUSED[found.word])
    if found.word not in INSTRUCTIONS:
        raise found.refuse(
            f"{word[:40]!r} is not an instruction that is known here",
            "Use the instructions that Docker 20.10 builds.",
        )
    if "<<" in found.rest:
        raise found.refuse(
            "a heredoc (<<) is not understood, nor is it by Docker 20.10",
            "Put its text into a file of the context and COPY or mount that; in shell text, write << in another way.",
        )
    if found.word in ("ENV", "LABEL") and "=" not in found.rest.partition(" ")[0]:
        raise found.refuse(f"{found.word} without `=` is not understood", f"Write {found.word} name=value.")
    return found


def _refuse_directives(lines: list[str]) -> None:
    """Directives stand above everything else. All others are comments, or, like `check`, change no image."""
    for number, line in enumerate(lines, start=1):
        if not line.lstrip(BLANKS).startswith("#"):
            return
        if found := DIRECTIVE.match(line):
            raise DockerfileError(
                number,
                f"the directive `{found[1].lower()}` changes how the file is read",
                "Remove it: the escape character is the backslash, and the syntax that of Docker 20.10.",
            )


def _refuse_characters(number: int, line: str) -> None:
    """Characters that some programs take for the end of a line, or for a blank, and others do not."""
    for character in line:
        if character not in BLANKS and (character.isspace() or unicodedata.category(character) == "Cc"):
            raise DockerfileError(
                number,
                f"the character U+{ord(character):04X} is read differently by different programs",
                "Use spaces, tabs and plain line ends.",
            )
