"""images/versions.toml is the only place where versions are chosen: all other files that name one agree with it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import lock
from images.catalog import FOLDER, ML
from images.lockfile import parse
from images.variants import DEFAULT_PAIR, PAIRS, VARIANTS, Variant
from images.versions import versions

ROOT = FOLDER.parent
# What was measured or decided at the time, and may name versions of the time.
RECORDS = ("benchmarks.md", "reliability.md", "scale.md", "growth.md")
TEXTS = sorted(
    {
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(path for path in (ROOT / "docs").glob("*.md") if path.name not in RECORDS),
        *ROOT.glob("requirements*.in"),
        *(path for name in ("dev", "gpu", "matrix") for path in ROOT.glob(f"Pulumi.{name}.yaml")),
    }
)
LOCKS = sorted([*ML.glob("locks/**/*.txt"), *FOLDER.glob("*/requirements.txt"), *ROOT.glob("requirements*.txt")])

# Package → how a text names one of its versions, as in "Ray 2.60.0", "ray[default]==2.60.0", "rayproject/ray:2.60.0".
VERSION = r"(\d+\.\d+\.\d+)"
NAMED = {
    "ray": rf"\bRay {VERSION}|\bray(?:\[[\w,]*\])?=={VERSION}|rayproject/ray:{VERSION}",
    "mlflow": rf"\bMLflow {VERSION}|\bmlflow(?:-skinny)?=={VERSION}",
    "marimo": rf"\bMarimo {VERSION}|\bmarimo=={VERSION}",
    "torch-geometric": rf"\btorch-geometric {VERSION}|\btorch-geometric=={VERSION}",
    "uv": rf"\buv=={VERSION}",
}
# How a text names a CUDA toolkit of the images: "CUDA 13.1.1", "cuda: 13.1.1", "--cuda 13.1.1", "cuda13.1.1-py3.14".
TOOLKIT = re.compile(rf"\bcuda(?::? |=| \| )?[\"'`]?{VERSION}", re.IGNORECASE)
# "| 13.1.1 (default) | 3.14 (default) | 2.13.0, built for CUDA 13.0… | 580 or newer |"
ROW = re.compile(
    r"^\| (?P<cuda>\d+\.\d+\.\d+)(?P<default> \(default\))? \| (?P<pythons>[^|]+) "
    r"\| (?P<torch>[\d.]+), built for CUDA (?P<torch_cuda>\d+\.\d+)[^|]*\| (?P<last>[^|]+) \|$"
)
DRIVER = re.compile(r"(\d+) or newer")
TABLES = [path for path in TEXTS if any(ROW.match(line) for line in path.read_text().splitlines())]


def disagreements(path: Path, text: str) -> list[str]:
    """Whatever a text says against images/versions.toml, each with its file and line."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {said}"
        for number, line in enumerate(text.splitlines(), start=1)
        for said in (*_packages(line), *_toolkits(line), *_table_rows(line))
    ]


def _packages(line: str) -> Iterator[str]:
    for package, pattern in NAMED.items():
        for found in re.finditer(pattern, line):
            version = next(group for group in found.groups() if group)
            if version != versions().packages[package]:
                yield f"has {found[0]}, images/versions.toml {package} {versions().packages[package]}"


def _toolkits(line: str) -> Iterator[str]:
    for toolkit in TOOLKIT.findall(line):
        if toolkit not in {cuda for cuda, _ in PAIRS}:
            yield f"has CUDA {toolkit}, of which images/versions.toml has no pair"


def _table_rows(line: str) -> Iterator[str]:
    if not (row := ROW.match(line)):
        return
    of_cuda = [variant for variant in VARIANTS if variant.cuda == row["cuda"]]
    if not of_cuda:
        yield f"has CUDA {row['cuda']}, of which images/versions.toml has no pair"
        return
    one: Variant = of_cuda[0]
    facts = {
        "Python": (set(re.findall(r"\d\.\d+", row["pythons"])), {variant.python for variant in of_cuda}),
        "torch": (row["torch"], one.torch),
        "torch's CUDA": (row["torch_cuda"], one.torch_cuda),
        "driver": (driver[1] if (driver := DRIVER.match(row["last"])) else str(one.driver), str(one.driver)),
    }
    if "(default)" in line:
        facts["default"] = (row["cuda"] if row["default"] else None, DEFAULT_PAIR[0])
    for name, (said, true) in facts.items():
        if said != true:
            yield f"has {name} {said} for CUDA {row['cuda']}, images/versions.toml {true}"


class TestDocuments:
    @pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
    def test_name_the_versions_of_the_file(self, path):
        assert disagreements(path, path.read_text()) == []

    @pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.relative_to(ROOT)))
    def test_tables_of_sets_have_every_pair(self, path):
        rows = [row for line in path.read_text().splitlines() if (row := ROW.match(line))]
        pairs = {(row["cuda"], python) for row in rows for python in re.findall(r"\d\.\d+", row["pythons"])}
        assert pairs == set(PAIRS)

    def test_sets_are_in_the_readme_and_the_page_on_images(self):
        """So that another form of these tables does not escape the tests above."""
        assert {ROOT / "README.md", ROOT / "docs" / "images.md"} <= set(TABLES)

    def test_every_package_is_named_somewhere(self):
        """A pattern that matches nothing would prove nothing."""
        text = "\n".join(path.read_text() for path in TEXTS)
        assert [package for package, pattern in NAMED.items() if not re.search(pattern, text)] == []

    def test_every_chosen_package_has_a_pattern(self):
        assert set(NAMED) == set(versions().packages)


class TestDisagreement:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("hold Ray 2.59.0, and", "README.md:2: has Ray 2.59.0, images/versions.toml ray "),
            ('`pip install "ray[default]==2.59.0"`', "README.md:2: has ray[default]==2.59.0, "),
            ('reference: "rayproject/ray:2.59.0-py313-cpu"', "README.md:2: has rayproject/ray:2.59.0, "),
            ("images: {cuda: 12.6.3}", "README.md:2: has CUDA 12.6.3, of which "),
            ("ws matrix --cuda 12.6.3", "README.md:2: has CUDA 12.6.3, of which "),
            ("| 12.6.3 | 3.14 | 2.10.0, built for CUDA 12.6 | 570 or newer |", "README.md:2: has CUDA 12.6.3, of "),
            ("| 12.8.1 | 3.14 or 3.13 | 2.9.1, built for CUDA 12.8 | 570 or newer |", "2: has torch 2.9.1 for CUDA "),
            ("| 12.8.1 | 3.14 or 3.13 | 2.10.0, built for CUDA 12.8 | 550 or newer |", "2: has driver 550 for CUDA "),
            ("| 12.8.1 | 3.14 | 2.10.0, built for CUDA 12.8 | 570 or newer |", "2: has Python {'3.14'} for CUDA "),
            ("| 12.8.1 (default) | 3.14 or 3.13 | 2.10.0, built for CUDA 12.8 | 570 or newer |", "2: has default "),
        ],
    )
    def test_names_file_and_line(self, line, said):
        (found,) = disagreements(ROOT / "README.md", f"# Title\n{line}\n")
        assert said in found


class TestLocks:
    @pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
    def test_hold_the_versions_of_the_file(self, path):
        assert disagreements(path, path.read_text()) == []

    def test_hold_every_chosen_package(self):
        held = {package for path in LOCKS if FOLDER in path.parents for package in parse(path.read_text())}
        assert set(versions().packages) <= held

    def test_every_chosen_package_is_an_input(self):
        inputs = " ".join([*lock.LEAN, *lock.INSTALLERS, *(item for items in lock.LAYERS.values() for item in items)])
        assert [package for package in versions().packages if f"=={{{package}}}" not in inputs] == []


class TestPins:
    def test_table_of_inputs_names_no_version_itself(self):
        groups = (*lock.LAYERS.values(), *lock.SERVICES.values(), lock.LEAN, lock.TOOLKIT, lock.INSTALLERS)
        assert [item for group in groups for item in group if re.search(r"==\d", item)] == []
