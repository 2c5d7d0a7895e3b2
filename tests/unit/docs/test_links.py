"""Links and anchors of the README and of docs/."""

import re

import pytest

from docs.tooling.links import ROOT, anchors, pages, relative_links, rewritten, slug

PAGES = pages()
# A file of the repository in backticks, under its whole name: no pattern, no placeholder.
FILE = re.compile(r"`((?:[\w.]+/)+[\w.]+\.(?:py|sh|lua|toml|md|yml|svg))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
class TestPage:
    def test_links_lead_to_files_and_headings_of_the_repository(self, page):
        dead = []
        for link in relative_links(page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists():
                dead.append(f"{link}: no such file")
            elif anchor and anchor not in anchors(target.read_text()):
                dead.append(f"{link}: no such heading")
        assert dead == []


def test_files_are_named_as_they_are():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    named = {
        (page.name, file)
        for page in PAGES
        if page.name not in ("CHANGELOG.md", "CONTRIBUTING.md")  # these name files of the past, and examples
        for file in FILE.findall(page.read_text())
        if file.split("/")[0] in folders
    }
    assert sorted((page, file) for page, file in named if not (ROOT / file).exists()) == []


class TestLinks:
    def test_links_in_code_are_none(self):
        text = "[a](a.md) `[b](b.md)`\n```\n[c](c.md)\n```\n[d](https://example.org) [e](#e)\n"
        assert relative_links(text) == ["a.md", "#e"]

    def test_only_targets_are_rewritten(self):
        assert rewritten("see [a](a.md#x), [b](b.md)\n", str.upper) == "see [a](A.MD#X), [b](B.MD)\n"

    @pytest.mark.parametrize(
        ("title", "anchor"),
        [
            ("When Redis's host is lost", "when-rediss-host-is-lost"),
            ("Use tokens of your own: `HF_TOKEN`", "use-tokens-of-your-own-hf_token"),
            ("[1.0] - 2026", "10---2026"),
        ],
    )
    def test_anchors_are_those_of_a_git_forge(self, title, anchor):
        assert slug(title) == anchor

    def test_repeated_headings_are_numbered(self):
        assert anchors("# A\n# A\n## B\n") == {"a", "a-1", "b"}


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in relative_links(index.read_text())}
    assert {page for page in (ROOT / "docs").glob("*.md") if page != index} <= linked


def test_every_decision_is_in_the_list_under_its_title():
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text()
    for page in sorted(folder.glob("0*.md")):
        number, title = page.read_text().partition("\n")[0].removeprefix("# ").split(". ", 1)
        assert f"| {number} | [{title}]({page.name}) |" in listed
