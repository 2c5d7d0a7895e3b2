"""The build report's numbers and views: phases, cache, sharing, comparisons, budgets, tables, the page, the SBOM."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from rich.console import Console

from build_report import charts, compress, sheets, units
from build_report.advice import slowest
from build_report.budget import exceeded
from build_report.compare import compare
from build_report.export import as_json
from build_report.overview import overview
from build_report.page import page
from build_report.phases import cache_state, from_history, phases
from build_report.records import Package, ReportError
from build_report.sbom import sbom
from build_report.store import Store
from build_report.summary import summary
from images.budgets import BudgetError, load
from testing.build_report_builds import BEGAN, MB, SIZES, built, image, step, subject
from ws.errors import WsError
from ws.report import Files, in_parts, note, show, table

TARGETS = frozenset({"runtime", "devel"})
RAY = SIZES | {"ray": 622 * MB}


@pytest.fixture
def kept(tmp_path):
    return Store(tmp_path / "builds.sqlite")


@pytest.fixture
def family(kept):
    """Two runs: in the second, ray-runtime's Ray is larger, and devel failed."""
    built(kept, image(SIZES, packages={"torch": ("2.13.0", 1154 * MB)}), run="run1")
    built(kept, image(RAY, packages={"ray": ("2.59.0", 200 * MB)}), of=subject("ray-runtime"), run="run1", after=80)
    built(kept, image(SIZES, packages={"torch": ("2.13.0", 1154 * MB)}), run="run2", after=1000)
    grown = image(RAY | {"ray": 662 * MB}, packages={"ray": ("2.60.0", 240 * MB), "pyarrow": ("26.0", 9 * MB)})
    built(kept, grown, of=subject("ray-runtime"), run="run2", after=1080, seconds=90)
    built(
        kept, None, of=subject("devel"), run="run2", after=1090, seconds=5, error="[tools 1/1] RUN x failed:\nno | gcc"
    )
    return kept


def reported(store: Store) -> Any:
    return overview(store)


def shown(store: Store, **options: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    show(console, console, store=store, **options)
    return console.export_text()


class TestPhases:
    def test_are_named_by_the_layer_that_a_step_makes(self, kept):
        build = built(kept, image(SIZES))
        assert list(phases(build, None)) == ["base", "cuda", "torch", "pyg", "other", "export"]

    def test_steps_side_by_side_count_once(self, kept):
        torch = phases(built(kept, image(SIZES)), None)["torch"]
        assert torch == pytest.approx(40)  # 21 to 51 and 41 to 61

    def test_steps_that_another_build_began_count_from_this_ones_beginning(self, kept):
        steps = (step("[torch 1/1] RUN python install.py torch", -9, 12), step("[ray 1/1] RUN install.py ray", -9, 8))
        assert phases(built(kept, image(SIZES), steps=steps), None) == {"torch": 3}

    def test_export_lasts_until_the_image_is_there(self, kept):
        steps = (step("exporting to image", 60, 0), step("exporting cache", 65, 1))
        assert phases(built(kept, image(SIZES), steps=steps, seconds=72), None) == {"export": 12}

    def test_without_steps_they_are_the_times_between_layers(self, kept):
        measured = image(SIZES)
        started, ended = from_history(measured.layers, BEGAN + 41, BEGAN + 9, set())
        build = built(kept, measured)
        build = type(build)(**{**vars(build), "timing": "history", "started": started, "ended": ended})
        assert phases(build, measured) == {"cuda": 1, "python": 10, "torch": 10, "pyg": 10}
        assert (build.ended, cache_state(build, measured)) == (BEGAN + 41, "cold")

    def test_layers_of_other_builds_are_not_a_builds_own(self, kept):
        measured = image(SIZES)
        known = {layer.chain_id for layer in measured.layers[:4]}  # up to torch
        assert from_history(measured.layers, BEGAN + 41, BEGAN - 99, known) == (BEGAN + 30, BEGAN + 41)


class TestCache:
    @pytest.mark.parametrize(
        ("cached", "state"),
        [((False, False), "cold"), ((True, False), "partly"), ((True, True), "warm"), ((), "unknown")],
    )
    def test_is_told_by_the_steps_that_make_something(self, kept, cached, state):
        steps = tuple(step(f"[torch {n}/2] RUN x", 0, 1, cached=one) for n, one in enumerate(cached))
        base = step("[torch 1/3] FROM docker.io/cslr/base", 0, 0, cached=True)
        assert cache_state(built(kept, None, steps=(base, *steps)), None) == state

    def test_steps_that_never_began_do_not_count(self, kept):
        steps = (step("[torch 1/2] RUN x", 0, cached=True), step("[torch 2/2] RUN y", None))
        assert cache_state(built(kept, None, steps=steps), None) == "warm"


class TestTotals:
    def test_count_each_image_once(self, family):
        report = reported(family)
        assert report.totals.size == sum(SIZES.values()) + sum(RAY.values()) + 40 * MB
        assert report.totals.unique == sum(RAY.values()) + 40 * MB
        assert {row.build.subject.image: row.shared for row in report.rows} == {
            "runtime": sum(SIZES.values()),
            "ray-runtime": sum(SIZES.values()),
            "devel": None,
        }


class TestComparison:
    def test_names_the_layer_that_grew_and_the_packages_that_did_it(self, family):
        report = reported(family)
        found = report.rows[1].comparison
        assert (found.size, found.seconds) == (40 * MB, 18)
        assert [(layer.name, layer.growth) for layer in found.layers] == [("ray", 40 * MB)]
        assert [(change.name, change.change, change.growth) for change in found.packages] == [
            ("ray", "version", 40 * MB),
            ("pyarrow", "added", 9 * MB),
        ]
        assert "ray 2.59.0 → 2.60.0 (+40 MB), pyarrow 26.0 added (+9.0 MB)" in found.text

    def test_tells_of_removed_rebuilt_and_shrunk_packages(self, kept):
        before = image({"base": 100}, packages={"a": ("1", 5 * MB), "b": ("1", 5 * MB), "c": ("1", 1)})
        after = image({"base": 99}, packages={"b": ("1", 6 * MB), "c": ("1", 1)})
        first = built(kept, before)
        found = compare(built(kept, after, after=9), after, first, before)
        assert [change.text for change in found.packages] == ["b rebuilt (+1.0 MB)", "a 1 removed (-5.0 MB)"]
        assert found.size == -1

    def test_equal_images_differ_in_nothing(self, family):
        found = reported(family).rows[0].comparison
        assert found.text.startswith("no difference since the build of")

    def test_packages_of_debian_and_python_are_told_apart(self, kept):
        before = image({"base": 1}, packages={"numpy": ("1", 1)})
        debian = Package(kind="debian", name="numpy", version="1", size=1)
        after = type(before)(**{**vars(before), "packages": (debian,)})
        found = compare(built(kept, after), after, built(kept, before), before)
        assert {(change.kind, change.change) for change in found.packages} == {
            ("python", "removed"),
            ("debian", "added"),
        }


class TestBudget:
    def write(self, folder: Path, text: str) -> Path:
        path = folder / "budgets.toml"
        path.write_text(text)
        return path

    def test_an_image_within_it_exceeds_nothing(self, tmp_path):
        path = self.write(
            tmp_path, '[image.runtime]\n"cuda13.1.1-py3.14" = "4.794 GB"\n[layer.pyg]\n"cuda13.1.1" = "32 MB"'
        )
        assert exceeded(load(path, TARGETS), subject(), image(SIZES)) == []

    def test_says_which_entry_by_how_much(self, tmp_path):
        path = self.write(
            tmp_path, '[image.runtime]\n"cuda13.1.1-py3.14" = "4.0 GB"\n[layer.torch]\n"cuda13.1.1" = "1.5 GB"'
        )
        found = [excess.text for excess in exceeded(load(path, TARGETS), subject(), image(SIZES))]
        assert found == [
            'image.runtime."cuda13.1.1-py3.14": 4.79 GB, 794 MB (20 %) over its 4.00 GB',
            'layer.torch."cuda13.1.1": 1.77 GB, 267 MB (18 %) over its 1.50 GB',
        ]

    def test_a_variants_entry_is_closer_than_its_cudas(self, tmp_path):
        path = self.write(tmp_path, '[layer.torch]\n"cuda13.1.1" = "1 GB"\n"cuda13.1.1-py3.14" = "2 GB"')
        assert exceeded(load(path, TARGETS), subject(), image(SIZES)) == []

    def test_entries_for_cuda_do_not_hold_for_cpu(self, tmp_path):
        path = self.write(tmp_path, '[layer.torch]\n"cuda13.1.1" = "1 GB"\n"cuda13.1.1-py3.14-cpu" = "2 GB"')
        cpu = type(subject())(**{**vars(subject()), "flavour": "cpu"})
        assert exceeded(load(path, TARGETS), cpu, image(SIZES)) == []

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('[image.runtime]\n"cuda13.1.1-py3.14" = "5 GiB"', "'5 GiB' is not a size: write it like '5.0 GB'"),
            ('[image.runtime]\n"cuda13.1.1-py3.14" = 5', r"5 is not a size: write it like '5.0 GB'"),
            (
                '[image.runtim]\n"cuda13.1.1-py3.14" = "5 GB"',
                "image.runtim.*unknown image runtim; known are devel, runtime",
            ),
            ('[layer.touch]\n"cuda13.1.1" = "5 GB"', "unknown layer touch; known are base, "),
            ('[image.runtime]\n"py3.14" = "5 GB"', 'image.runtime."py3.14": name a variant, like "cuda13.1.1-py3.14"'),
            ('[images.runtime]\n"cuda13.1.1" = "5 GB"', "images: unknown table; known are image and layer"),
            ('image = "5 GB"', "image"),
            ("[image", "is not TOML"),
        ],
    )
    def test_a_wrong_entry_is_named_with_file_and_remedy(self, tmp_path, text, said):
        path = self.write(tmp_path, text)
        with pytest.raises(BudgetError, match=f"{path}: .*{said}"):
            load(path, TARGETS)

    def test_all_wrong_entries_are_named_at_once(self, tmp_path):
        path = self.write(tmp_path, '[image.runtime]\n"a" = "5 GB"\n"cuda1" = "x"')
        with pytest.raises(BudgetError) as raised:
            load(path, TARGETS)
        assert len(str(raised.value).splitlines()) == 2

    def test_a_missing_table_is_named(self, tmp_path):
        with pytest.raises(BudgetError, match=r"budgets.toml: cannot be read: No such file"):
            load(tmp_path / "budgets.toml", TARGETS)


class TestUnits:
    @pytest.mark.parametrize(
        ("count", "text"),
        [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (312_400_000, "312 MB"), (5_653_207_244, "5.65 GB")],
    )
    def test_sizes_are_decimal_as_dockers(self, count, text):
        assert units.size(count) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (3725, "1 h 02 min")],
    )
    def test_durations_never_have_sixty_seconds(self, seconds, text):
        assert units.duration(seconds) == text

    def test_differences_have_a_sign(self):
        assert [units.delta(count) for count in (5 * MB, -5 * MB, 0, None)] == ["+5.0 MB", "-5.0 MB", "±0", "-"]


class TestTerminal:
    def test_shows_the_last_run_with_result_size_growth_and_sums(self, family):
        text = shown(family)
        assert re.search(
            r"ray-runtime cuda13.1.1-py3.14 +built +cold +1 min 30 s +\+18 s +5.46 GB +\+40 MB +- +88 %", text
        )
        assert re.search(r"2 images, 5.46 GB unique +2 min 50 s +10.25 GB +- +47 %", text)
        assert "Trend" not in text

    def test_shows_each_failure_with_its_reason(self, family):
        assert re.search(r"✗ devel cuda13.1.1-py3.14:\s+\[tools 1/1\] RUN x failed:\s+no | gcc", shown(family))

    def test_the_trend_has_the_builds_of_so_many_runs(self, family):
        assert len(re.findall(r"^20\S+ \S+ +", shown(family, last=1), re.MULTILINE)) == 3
        assert len(re.findall(r"^20\S+ \S+ +", shown(family, last=2), re.MULTILINE)) == 5

    def test_images_are_selected_by_glob(self, family):
        text = shown(family, image="ray-*")
        assert "ray-runtime" in text
        assert "devel" not in text

    def test_images_not_built_in_the_last_run_are_shown_from_theirs(self, family):
        built(family, image({"base": 1}), of=subject("devel"), run="run3", after=2000)
        text = shown(family, image="ray-*", last=1)
        assert "ray-runtime" in text
        assert "Builds, 2026-09-21" in text

    def test_an_empty_store_says_what_to_run(self, kept):
        with pytest.raises(WsError, match=r"Nothing was built yet.*\n  Run: ws matrix"):
            shown(kept)

    def test_a_glob_that_nothing_matches_is_named(self, family):
        with pytest.raises(WsError, match=r"images like 'x' was built yet\.\n.*: runtime, ray-runtime, devel"):
            shown(family, image="x")

    def test_an_image_is_found_by_the_name_that_it_has_in_a_stack(self, family):
        assert "1 image," in shown(family, image="ray-runtime-cuda13.1.1-py3.14")

    @pytest.mark.parametrize("width", [60, 80, 200])
    def test_every_column_is_readable_on_a_narrow_terminal(self, family, width):
        sheet = sheets.results(reported(family))
        parts = in_parts(sheet, width)
        assert {column.title for part in parts for column in part.columns} == {c.title for c in sheet.columns}
        console = Console(width=width, record=True, file=io.StringIO())
        for part in parts:
            console.print(table(part))
        lines = console.export_text().splitlines()
        assert sum(line.startswith("ray-runtime cuda13.1.1-py3.14 ") for line in lines) == len(parts)
        assert (len(parts) == 1) == (width == 200)


class TestJson:
    def test_has_the_documented_keys_and_exact_numbers(self, family, capsys):
        shown(family, as_json=True)
        report = json.loads(capsys.readouterr().out)
        assert report == as_json(reported(family))
        assert report["schema"] == 1
        run = report["run"]
        assert run.pop("slowest").startswith("Slowest phase: torch, 1 min 20 s of 2 min 45 s (49 %)")
        assert run == {
            "note": "", "indexes": {}, "cache_bytes": None,
            "id": "run2", "started": "2026-09-21T14:30:00.000+00:00",
            "seconds": 170.0, "ok": False, "builds": 3, "not_built": 1,
        }  # fmt: skip
        ray = report["builds"][1]
        assert ray["size"] == sum(layer["size"] for layer in ray["layers"]) == sum(RAY.values()) + 40 * MB
        assert ray["previous"]["size"] == 40 * MB
        assert ray["phases"]["torch"] == 40
        assert report["totals"]["saved"] == report["totals"]["size"] - report["totals"]["unique"]
        assert len(report["trend"]) == 5


class TestMarkdown:
    def test_is_written_whole(self, family, tmp_path):
        shown(family, files=Files(markdown=tmp_path / "new" / "report.md"))
        text = (tmp_path / "new" / "report.md").read_text()
        assert text.startswith("# Build report, ")
        assert "| ray-runtime cuda13.1.1-py3.14 | built | cold |" in text
        assert "ray 2.59.0 → 2.60.0 (+40 MB)" in text
        tables = [line for line in text.splitlines() if line.startswith("|")]
        assert all(line.endswith("|") for line in tables)

    def test_a_summary_is_short_and_names_failures_and_growth(self, family):
        text = summary("run2", family)
        assert text.splitlines() == [
            "**2 of 3 builds succeeded, 1 failed**, in 2 min 50 s: 2 images of 10.25 GB, 5.46 GB unique"
            " (47 % saved by sharing).",
            "- ✗ **devel cuda13.1.1-py3.14**: [tools 1/1] RUN x failed: no \\| gcc",
            "- ray-runtime cuda13.1.1-py3.14: +40 MB to 5.46 GB",
        ]

    def test_the_summary_of_a_run_that_built_nothing_says_so(self, kept):
        assert summary("run9", kept) == "Nothing was built: all images are up to date."

    def test_tells_what_failed_beside_builds(self, kept):
        assert summary("run9", kept, failures={"base-forky": "no\ndebootstrap"}) == (
            "Nothing was built.\n- ✗ **base-forky**: no debootstrap"
        )

    def test_a_manifest_lists_packages_and_labels(self, family, tmp_path):
        shown(family, files=Files(manifest=tmp_path))
        assert sorted(file.name for file in tmp_path.glob("*.md")) == [
            "ray-runtime-cuda13.1.1-py3.14.md",
            "runtime-cuda13.1.1-py3.14.md",
        ]
        text = (tmp_path / "ray-runtime-cuda13.1.1-py3.14.md").read_text()
        assert "| ray | 2.60.0 | 240 MB |" in text
        assert "| cslr.torch | 2.13.0 |" in text


class TestPage:
    def test_fetches_nothing_and_forbids_it(self, family):
        text = page(reported(family))
        own = text.replace(charts_library(), "")
        assert not re.findall(r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//""", own)
        assert not re.findall(r"https?://|@import|url\(", own)
        assert "default-src 'none'" in own

    def test_every_placeholder_is_filled(self, family):
        assert not re.findall(r"\{\{\w+\}\}", page(reported(family)).replace(charts_library(), ""))

    def test_what_a_build_says_cannot_become_markup(self, kept):
        built(kept, None, error="</script><script>alert(1)</script>", of=subject("<b>x</b>"))
        text = page(reported(kept)).replace(charts_library(), "")
        assert "alert(1)</script>" not in text
        assert "<b>x</b>" not in text

    def test_charts_stack_each_image_to_its_size(self, family):
        figure = charts.layers(reported(family).family)
        sums: dict[str, float] = {}
        for bar in figure.data:
            for title, size in zip(bar.y, bar.x, strict=True):
                sums[title] = sums.get(title, 0) + size
        assert sums["runtime cuda13.1.1-py3.14"] == pytest.approx(sum(SIZES.values()) / 1e9)
        solid = sum(sum(bar.x) for bar in figure.data if bar.marker.opacity == 1)
        assert solid == pytest.approx(reported(family).family_totals.unique / 1e9)

    def test_a_run_that_only_failed_has_a_page(self, kept):
        built(kept, None, steps=(), error="no space left on device")
        assert "no space left on device" in page(reported(kept))


class TestSbom:
    def test_is_valid_cyclonedx_of_the_packages(self, family):
        row = reported(family).rows[1]
        text = sbom(row.build, row.image)
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        components = json.loads(text)["components"]
        assert {one["purl"] for one in components} == {"pkg:pypi/ray@2.60.0", "pkg:pypi/pyarrow@26.0"}

    def test_debian_packages_name_distribution_and_source(self, kept):
        measured = image({"base": 1})
        libc = Package(kind="debian", name="libc6", version="2.41-12", size=9, architecture="amd64", source="glibc")
        measured = type(measured)(**{**vars(measured), "packages": (libc,)})
        text = sbom(built(kept, measured), measured)
        assert "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc" in text
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None

    def test_the_same_image_has_the_same_document(self, family):
        row = reported(family).rows[0]
        assert sbom(row.build, row.image) == sbom(row.build, row.image)

    def test_is_written_for_each_image(self, family, tmp_path):
        shown(family, files=Files(sbom=tmp_path))
        assert len(list(tmp_path.glob("*.cdx.json"))) == 2

    def test_a_folder_that_cannot_be_written_is_named(self, family):
        with pytest.raises(WsError, match=r"/proc/x.* cannot be written"):
            shown(family, files=Files(sbom=Path("/proc/x")))


class TestCompressed:
    def test_the_fewest_images_that_have_all_layers_are_written_out(self):
        runtime, ray = image(SIZES), image(RAY)
        assert compress.to_save([runtime, ray]) == [ray]
        assert compress.missing([runtime, ray]) == {layer.diff_id: layer.size for layer in ray.layers}

    def test_empty_layers_are_found_too(self):
        assert compress.to_save([image({"base": 0})]) == [image({"base": 0})]


def charts_library() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def test_every_error_of_the_report_is_known_to_ws():
    from ws.errors import message

    assert message(ReportError("one sentence")) == "one sentence"


class TestRemarks:
    def test_the_slowest_phase_comes_with_what_would_help(self, family):
        said = shown(family)
        assert "Slowest phase: torch, 1 min 20 s of 2 min 45 s (49 %). What would help: it downloads" in said

    def test_a_run_that_took_no_time_has_none(self, kept):
        built(kept, image(SIZES), steps=(step("[torch 1/1] RUN python install.py torch", 0, 3),), seconds=3)
        assert slowest(reported(kept).rows) == ""

    def test_an_emulated_platform_is_named(self, kept):
        built(kept, image(SIZES), of=replace(subject(), platform="linux/arm64"))
        assert "linux/arm64 was emulated" in slowest(reported(kept).rows, "x86_64")
        assert "emulated" not in slowest(reported(kept).rows, "aarch64")

    def test_the_sizes_of_an_index_are_added(self, kept):
        built(kept, image(SIZES))
        built(kept, image(SIZES | {"pyg": 132 * MB}), of=replace(subject(), platform="linux/arm64"))
        (title,) = reported(kept).indexes
        assert title == "runtime cuda13.1.1-py3.14"
        text = "all platforms of its index: 9.69 GB (linux/amd64 4.79 GB + linux/arm64 4.89 GB)"
        assert text in shown(kept)

    def test_the_build_cache_is_shown_before_and_after(self, kept):
        built(kept, image(SIZES), run="run1")
        kept.add_cache_size("run1", 10**9)
        assert "Docker's build cache: 1.00 GB before" in shown(kept)
        kept.add_cache_size("run1", 3 * 10**9)
        assert "Docker's build cache: 1.00 GB before, 3.00 GB after (+2.00 GB)" in shown(kept)


class TestPush:
    def test_is_a_phase_after_the_builds_time(self, kept):
        build = built(kept, image(SIZES))
        pushed = replace(step("push cslr/x:1", 72, 30), completed=build.ended + 30)
        kept.add_step(build.number, pushed)
        (row,) = reported(kept).rows
        assert row.phases["push"] == 30
        assert row.build.seconds == 72
        assert row.build.finished == build.ended + 30
        assert reported(kept).seconds == 102
        assert "30 s" in shown(kept, last=1)


class TestNotes:
    def test_one_is_in_the_trend_and_in_every_other_view(self, family, tmp_path):
        assert note("run1", "a new\nmirror", store=family) == "run1"
        assert "a new mirror" in shown(family, last=10)
        assert {row["note"] for row in as_json(reported(family))["trend"]} == {"", "a new mirror"}
        note("last", "disk was full", store=family)
        assert "Note: disk was full" in shown(family, files=Files(markdown=tmp_path / "report.md"))
        assert "- Note: disk was full" in (tmp_path / "report.md").read_text()

    def test_an_empty_one_removes_it(self, family):
        note("last", "x", store=family)
        note("last", "", store=family)
        assert family.notes() == {}

    @pytest.mark.parametrize(("run", "said"), [("2026", "There is no run '2026'"), ("run", "2 runs begin with 'run'")])
    def test_a_run_that_is_not_there_or_not_the_only_one_is_refused(self, family, run, said):
        with pytest.raises(WsError, match=said):
            note(run, "x", store=family)

    def test_an_empty_store_has_no_last_run(self, kept):
        with pytest.raises(WsError, match="There is no run 'last'"):
            note("last", "x", store=kept)
