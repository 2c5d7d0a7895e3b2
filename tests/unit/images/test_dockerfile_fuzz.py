"""Nothing that BuildKit would run drops out of a recipe: random texts, and every Dockerfile of the project."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from docker_api.builds import context_files
from images.catalog import CATALOG, Flavour, packages_image
from images.dockerfile import DockerfileError, Recipe, recipe
from images.variants import VARIANTS

PIECES = (
    "RUN ", "run\t", "COPY a /b", "ENV A=b", "LABEL a='b c'", "USER 1\n", "ONBUILD ", "--mount=target=/x ", "echo",
    "&&", " ", "  ", "\t", "\n", "\n\n", "\r\n", "\\\n", "\\ \n", "\\\\\n", "\\", "'", '"', "$A", "#", "# x\n",
    "# escape=`\n", "<<EOF", "<<", "EOF\n", "\u00e9", "\u00a0", "\u2028", "\x0c", "\r", "\ufeff",
)  # fmt: skip
FILES = ("a", "a.txt", "d/a", "d/e/a", "d/e/b.txt", "e/a.txt")
FLAVOURS: tuple[Flavour, ...] = ("cuda", "cpu")
NAMES = st.text(st.sampled_from("ade./*?"), max_size=6)


def buildkit(text: str) -> Iterator[str]:
    """The instructions as BuildKit joins them (frontend/dockerfile/parser/parser.go), character by character."""
    whole = None
    for line in text.replace("\r\n", "\n").split("\n"):
        if re.match(r"[ \t]*(#|$)", line):
            continue
        body = line.lstrip(" \t") if whole is None else line
        joined = re.sub(r"([^\\])\\[ \t]*$|^\\[ \t]*$", r"\1", body)
        whole = (whole or "") + joined
        if joined == body:
            yield whole
            whole = None
    if whole is not None:
        yield whole


def words(instruction: str) -> list[str]:
    """What a shell makes of it: two instructions that differ in no word do the same."""
    try:
        first, *rest = shlex.split(instruction)
    except ValueError:  # a quotation that is not closed
        first, *rest = instruction.split()
    return [first.upper(), *rest]


def of(folder: Path, text: str, **args: str) -> Recipe:
    file = folder / "Dockerfile"
    file.write_bytes(text.encode())
    return recipe(file, FILES, target=None, args=args)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("context")


class TestAnyText:
    @given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
    @example('RUN echo "a \\\n   b"')
    @example("RUN a\\\n  b")
    @example("RUN a \\\n # b \\\n c")
    @example("RUN a \\")
    @example("RUN \\ \\\n")
    def test_is_refused_or_kept_whole(self, folder, text):
        text = f"FROM scratch\n{text}"
        with suppress(DockerfileError):
            found = of(folder, text).text
            assert [words(line) for line in found.split("\n")] == [words(line) for line in buildkit(text)]

    @given(st.text(), st.booleans())
    def test_never_crashes(self, folder, text, after_from):
        with suppress(DockerfileError):
            of(folder, f"FROM scratch\n{text}" if after_from else text)


class TestAnyValue:
    @given(NAMES, st.sampled_from(["${X}", "d/${X}", "${X}/a", "d/${X}.txt", "./${X}/../e"]))
    def test_reads_no_file_that_does_not_count_where_it_is_unknown(self, folder, value, path):
        """A value that only the build knows: whatever it turns out to be, the files were counted."""
        text = f"FROM scratch\nARG X\nCOPY {path} /\n"
        with suppress(DockerfileError):
            assert set(of(folder, text, X=value).files) <= set(of(folder, text).files)


class TestDockerfilesOfTheProject:
    def test_each_of_their_instructions_counts_for_some_image(self):
        images = [*CATALOG.values()]
        images.append(packages_image("packages", stack="x", lock_file=None, lock="", packages={}, apt=()))
        counted: dict[Path, set[str]] = {}
        for image, variant, flavour in product(images, VARIANTS, FLAVOURS):
            args = image.build_args(base="base", variant=variant, flavour=flavour)
            files = context_files(image.folder, image.dockerfile)
            found = recipe(image.dockerfile, files, target=image.target, args=args)
            counted.setdefault(image.dockerfile, set()).update(found.text.split("\n"))
        for dockerfile, lines in counted.items():
            kept = {tuple(words(line)) for line in lines}
            lost = [one for one in buildkit(dockerfile.read_text()) if tuple(words(one)) not in kept]
            assert lost == [], dockerfile
