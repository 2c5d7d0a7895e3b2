"""`python -m build_report.measure`: its input, and its verdict on known images."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build_report import ancestry
from build_report.measure import OVER, WITHIN, WRONG_CALL, MeasureError, read_spec
from build_report.records import BuildRecord, subject_of
from build_report.store import Store
from testing.build_report_builds import BEGAN, MB, SIZES, STEPS, built, image, subject
from testing.harness import PROJECT

VARIANT = "cuda13.1.1-py3.14"
SPEC = {
    "tag": f"cslr/runtime:{VARIANT}-cuda-0123456789ab",
    "image": "runtime",
    "target": "runtime",
    "variant": VARIANT,
    "flavour": "cuda",
    "platform": "linux/amd64",
    "budget": None,
}
TIGHT = f'[image.runtime]\n"{VARIANT}" = "4.8 GB"\n[layer.pyg]\n"{VARIANT}" = "50 MB"\n'
TINY = "cslr-test/report"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("CSLR_RUN", "20261122T100000Z-1")
    return Store()


def run(*, image_id: str | None = None, **values: Any) -> subprocess.CompletedProcess[str]:
    """The program, as an engine starts it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CSLR_BUILD", "CSLR_IMAGE_ID")}
    environment |= {"CSLR_BUILD": json.dumps(SPEC | values)} | ({"CSLR_IMAGE_ID": image_id} if image_id else {})
    command = [sys.executable, "-m", "build_report.measure"]
    return subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


class TestSpec:
    def test_names_the_image_and_what_it_is_compared_with(self):
        spec = read_spec(json.dumps(SPEC | {"budget": "images/ml/budgets.toml"}))
        assert (spec.tag, spec.subject, spec.budget) == (SPEC["tag"], subject(), Path("images/ml/budgets.toml"))

    def test_an_image_that_is_not_made_per_variant_has_no_flavour(self):
        spec = read_spec(json.dumps(SPEC | {"variant": None, "flavour": "cpu"}))
        assert spec.subject.flavour == "cuda"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (None, "CSLR_BUILD is not set: give the image to measure there, as JSON"),
            ("{", "CSLR_BUILD is not JSON: Expecting property name"),
            ("[]", "CSLR_BUILD must be an object with tag, image"),
            ("{}", "tag must be a string; image must be a string; flavour must be a string; platform must be a string"),
            (json.dumps(SPEC | {"tag": ""}), "tag must be a string"),
            (json.dumps(SPEC | {"variant": 3}), "variant must be a string or null"),
            (json.dumps(SPEC | {"budgets": "x"}), "budgets is unknown"),
            (json.dumps(SPEC | {"limit": "5 GB", "limit_key": "x"}), "limit must be a number of bytes, with limit_key"),
            (json.dumps(SPEC | {"limit": "5"}), "limit must be a number of bytes, with limit_key"),
        ],
    )
    def test_a_wrong_one_is_one_sentence(self, text, said):
        with pytest.raises(MeasureError, match=said) as raised:
            read_spec(text)
        assert "\n" not in str(raised.value)

    def test_a_wrong_call_is_no_failed_budget(self, kept):
        done = run(tag=3)
        assert (done.returncode, done.stdout) == (WRONG_CALL, "")
        assert done.stderr == "CSLR_BUILD does not describe an image: tag must be a string\n"


class TestKnownImage:
    def test_needs_no_docker_and_says_what_it_knows(self, kept, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
        build = built(kept, image(SIZES))
        done = run(image_id=build.image_id)
        assert (done.returncode, done.stderr) == (WITHIN, "")
        size = sum(SIZES.values())
        assert json.loads(done.stdout) == {
            "build": build.number, "image_id": build.image_id, "size": size, "within_budget": True
        }  # fmt: skip

    def test_imports_neither_docker_nor_pydantic(self, kept):
        code = "import sys, build_report.measure; print(*({'docker', 'pydantic', 'psutil', 'pulumi'} & {*sys.modules}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""

    def test_a_build_of_it_that_an_engine_recorded_is_completed(self, kept):
        first = built(kept, image(SIZES))
        again = kept.add_build(
            BuildRecord(
                tag=first.tag,
                subject=subject_of(first.tag, platform="linux/amd64"),
                engine="embedded",
                started=BEGAN + 90,
                ended=BEGAN + 92,
                steps=STEPS,
            )
        )
        run(image_id=first.image_id)
        found = kept.build_of_tag(first.tag)
        assert found is not None
        assert (found.number, found.image_id, found.subject) == (again.number, first.image_id, subject())


class TestBudget:
    @pytest.fixture
    def table(self, tmp_path: Path) -> Callable[[str], str]:
        def write(text: str) -> str:
            path = tmp_path / "budgets.toml"
            path.write_text(text)
            return str(path)

        return write

    def test_an_image_over_it_fails_with_what_grew_and_which_package_did_it(self, kept, table):
        built(kept, image(SIZES, packages={"pyg-lib": ("0.7.0", 8 * MB)}))
        after = image(SIZES | {"pyg": 60 * MB}, packages={"pyg-lib": ("0.8.0", 36 * MB)})
        build = built(kept, after, after=100)
        done = run(image_id=build.image_id, budget=table(TIGHT))
        assert done.returncode == OVER
        assert not json.loads(done.stdout)["within_budget"]
        lines = done.stderr.splitlines()
        assert lines[0] == f"{build.tag} is over its size budget:"
        assert lines[1] == f'  image.runtime."{VARIANT}": 4.82 GB, 22 MB (0 %) over its 4.80 GB'
        assert lines[2] == f'  layer.pyg."{VARIANT}": 60 MB, 10 MB (20 %) over its 50 MB'
        assert lines[3].startswith("  +28 MB since the build of 2026-")
        assert "layers pyg +28 MB to 60 MB; packages pyg-lib 0.7.0 → 0.8.0 (+28 MB)" in lines[3]
        assert lines[4].startswith("  Remove what grew, or raise the limit in ")

    def test_the_report_says_so_until_the_budget_is_raised(self, kept, table):
        build = built(kept, image(SIZES | {"pyg": 60 * MB}))
        for limit, result in (("50 MB", "over budget"), ("60 MB", "built")):
            run(image_id=build.image_id, budget=table(f'[layer.pyg]\n"{VARIANT}" = "{limit}"'))
            found = kept.build_of_tag(build.tag)
            assert found is not None
            assert (found.result, bool(found.error)) == (result, result != "built")

    def test_it_is_checked_again_for_an_image_that_is_known(self, kept, table):
        build = built(kept, image(SIZES))
        budget = table('[layer.pyg]\n"cuda13.1.1" = "1 MB"')
        assert [run(image_id=build.image_id, budget=budget).returncode for _ in range(2)] == [OVER, OVER]

    def test_without_a_build_before_it_says_that(self, kept, table):
        build = built(kept, image(SIZES))
        done = run(image_id=build.image_id, budget=table('[layer.pyg]\n"cuda13.1.1" = "1 MB"'))
        assert "There is no earlier build to compare with." in done.stderr

    def test_layers_of_an_own_dockerfile_are_limited_by_its_key(self, kept):
        build = built(kept, image(SIZES | {"other": 60 * MB}))
        limits = {"limit_key": "ray.cpu.image.size_limit", "image": "own-ray-cpu"}
        over = run(image_id=build.image_id, limit=str(50 * MB), **limits)
        assert over.returncode == OVER
        lines = over.stderr.splitlines()
        assert lines[1] == "  ray.cpu.image.size_limit: 60 MB, 10 MB (20 %) over its 50 MB"
        assert lines[-1] == "  Remove what grew, or raise ray.cpu.image.size_limit."
        assert run(image_id=build.image_id, limit=str(60 * MB), **limits).returncode == WITHIN

    def test_a_wrong_table_is_a_wrong_call(self, kept, table):
        build = built(kept, image(SIZES))
        done = run(image_id=build.image_id, budget=table("[image"))
        assert done.returncode == WRONG_CALL
        assert "budgets.toml: is not TOML" in done.stderr


class TestMisfortunes:
    def test_a_store_that_fails_does_not_fail_the_build(self, tmp_path, monkeypatch):
        (tmp_path / "cslr").write_text("a file where the folder should be")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        done = run(image_id="sha256:0")
        assert (done.returncode, done.stdout) == (WITHIN, "")
        assert "the build is not recorded, and its budget is not checked" in done.stderr

    def test_without_docker_an_unknown_image_is_one_sentence(self, kept, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
        done = run()
        assert done.returncode == WRONG_CALL
        assert f"{SPEC['tag']} cannot be measured: Docker does not answer" in done.stderr


class TestRun:
    def test_one_that_ws_named_began_when_its_name_says(self, monkeypatch):
        monkeypatch.setenv("CSLR_RUN", "20260921T141320Z-77")
        assert ancestry.outer_run() == ("20260921T141320Z-77", BEGAN)

    def test_commands_of_one_pulumi_share_a_run(self, monkeypatch):
        monkeypatch.delenv("CSLR_RUN", raising=False)
        monkeypatch.setattr(ancestry, "OUTER", "python")  # this process, or what started it, stands for Pulumi
        code = "from build_report import ancestry; ancestry.OUTER = 'python'; print(ancestry.outer_run()[0])"
        command = [sys.executable, "-c", code]
        names = {subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout for _ in "12"}
        assert len(names) == 1
