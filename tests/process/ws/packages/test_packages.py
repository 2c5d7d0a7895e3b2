"""`ws packages`: versions that fit the images, conflicts that name both sides, and atomic edits."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import load
from images import packages_lock
from images.variants import DEFAULT_VARIANT
from ws import cli
from ws.errors import WsError
from ws.packages import packages
from ws.packages.packages import Wanted, explain, resolve

HELD = {"numpy": "2.5.5", "torch": "2.13.0", "pyyaml": "6.0.3"}
LEAN = {"pyyaml": "6.0.3"}
INDEX = {  # wheel → what it needs
    "numpy-1.26.4": [],
    "numpy-2.5.5": [],
    "torch-2.13.0": ["numpy"],
    "elan_reader-1.0": ["numpy", "xml-parts"],
    "elan_reader-2.0": ["numpy", "xml-parts"],
    "xml_parts-3.0": [],
    "xml_parts-4.0": [],
    "old_reader-1.0": ["numpy<2"],
    "sign_model-1.0": ["torch", "xml-parts"],
}


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> str:
    """A package index of this host's files."""
    root = tmp_path_factory.mktemp("index")
    for wheel, needs in INDEX.items():
        name, version = wheel.split("-")
        folder = root / name.replace("_", "-")
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / f"{wheel}-py3-none-any.whl", "w") as file:
            required = "".join(f"Requires-Dist: {need}\n" for need in needs)
            info = f"{wheel}.dist-info"
            file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
    for folder in root.iterdir():
        links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in sorted(folder.glob("*.whl")))
        (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    return str(root.as_uri())


@pytest.fixture(autouse=True)
def images(monkeypatch):
    """Images that hold little."""
    monkeypatch.setattr(packages_lock, "held", lambda _: dict(HELD))
    monkeypatch.setattr(packages_lock, "held_without_torch", lambda _: dict(LEAN))


class TestResolve:
    def test_takes_the_newest_that_fit_and_leaves_out_what_is_there(self, index):
        lock = resolve(["elan-reader"], DEFAULT_VARIANT, index=index)
        assert {name: pin.version for name, pin in lock.pins.items()} == {"elan-reader": "2.0", "xml-parts": "4.0"}
        assert all(pin.hashed for pin in lock.pins.values())
        assert "://" not in lock.text

    def test_keeps_versions_that_fit(self, index):
        lock = resolve(["elan-reader"], DEFAULT_VARIANT, index=index, known={"xml-parts": "3.0"})
        assert lock.pins["xml-parts"].version == "3.0"

    def test_a_node_without_torch_lacks_more(self, index):
        assert set(resolve(["elan-reader"], DEFAULT_VARIANT, index=index).more) == {"numpy"}

    def test_what_needs_torch_brings_none_to_such_a_node(self, index):
        lock = resolve(["sign-model"], DEFAULT_VARIANT, index=index)
        assert set(lock.pins) == {"sign-model", "xml-parts"}
        assert "torch" not in lock.more

    def test_what_is_in_the_images_needs_nothing(self, index):
        assert resolve(["numpy>=2"], DEFAULT_VARIANT, index=index).pins == {}

    @pytest.mark.parametrize(
        ("asked", "said"),
        [
            ("old-reader", "needs numpy<2, and the images hold numpy 2.5.5"),
            ("numpy<2", "you ask for numpy<2, and the images hold numpy 2.5.5"),
        ],
    )
    def test_a_conflict_is_named_with_both_sides(self, index, asked, said):
        with pytest.raises(WsError, match="do not fit") as caught:
            resolve([asked], DEFAULT_VARIANT, index=index)
        assert said in str(caught.value)
        assert "old-reader" in str(caught.value) or asked != "old-reader"

    def test_what_nobody_has_is_said_in_uvs_words(self, index):
        with pytest.raises(WsError, match="are not available") as caught:
            resolve(["nowhere-to-be-found"], DEFAULT_VARIANT, index=index)
        assert "nowhere-to-be-found was not found" in str(caught.value)

    def test_only_real_conflicts_are_told(self):
        error = "Because all versions of a depend on b and a>1 depends on numpy>=2,<3 and x==1 depends on torch<2.5, …"
        assert explain(error, HELD) == ["x==1 needs torch<2.5, and the images hold torch 2.13.0"]


class TestWanted:
    def test_a_requirement_replaces_one_on_the_same_package(self):
        wanted = Wanted(packages=("a>1", "b"), apt=()).with_more(["A>2", "c"], ["sox"])
        assert wanted == Wanted(packages=("A>2", "b", "c"), apt=("sox",))

    def test_names_are_found_however_they_are_spelled(self):
        assert Wanted(packages=("pympi-ling>=1",), apt=("sox",)).without(["Pympi_Ling", "sox"]) == Wanted(
            packages=(), apt=()
        )

    def test_what_is_not_asked_for_cannot_go(self):
        with pytest.raises(WsError, match="does not ask for x: it asks for a"):
            Wanted(packages=("a",), apt=()).without(["x"])


class TestCommands:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch, index) -> Path:
        """A project with one stack, whose packages come from this host."""
        (tmp_path / "Pulumi.yaml").write_text("name: cslr\nruntime: python\n")
        (tmp_path / "Pulumi.lab.yaml").write_text("# The lab's.\nconfig:\n  cslr:platform: {}\n")
        for module in ("ws.packages.packages", "ws.stack_settings", "ws.config.editing"):
            monkeypatch.setattr(f"{module}.FOLDER", tmp_path)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("UV_DEFAULT_INDEX", index)
        return Path(tmp_path)

    def run(self, *words: str) -> int:
        return cli.main(["packages", *words, "-s", "lab"])

    def settings(self, folder: Path):
        raw = yaml.safe_load((folder / "Pulumi.lab.yaml").read_text())["config"]["cslr:platform"]
        return load(raw, stack_file="Pulumi.lab.yaml")

    def test_add_writes_both_files(self, folder, capsys):
        assert self.run("add", "elan-reader>=1", "--apt", "ffmpeg") == 0
        assert "+ elan-reader 2.0" in capsys.readouterr().out
        assert self.settings(folder).images.packages == ("elan-reader>=1",)
        assert self.settings(folder).images.apt == ("ffmpeg",)
        assert "# The lab's." in (folder / "Pulumi.lab.yaml").read_text()
        assert packages.problem_of("lab", self.settings(folder)) == ""

    def test_what_does_not_fit_changes_nothing(self, folder, capsys):
        before = (folder / "Pulumi.lab.yaml").read_text()
        assert self.run("add", "old-reader") == 1
        assert "numpy<2" in capsys.readouterr().err
        assert (folder / "Pulumi.lab.yaml").read_text() == before
        assert not (folder / "Pulumi.lab.packages.txt").exists()

    def test_a_key_that_is_set_meanwhile_stays(self, folder, monkeypatch):
        self.meanwhile(monkeypatch, lambda: cli.main(["set", "redis.port", "6390", "-s", "lab"]))
        assert self.run("add", "elan-reader") == 0
        settings = self.settings(folder)
        assert (settings.redis.port, settings.images.packages) == (6390, ("elan-reader",))

    def test_packages_that_are_changed_meanwhile_stay(self, folder, monkeypatch, capsys):
        self.meanwhile(monkeypatch, lambda: self.run("add", "sign-model"))
        assert self.run("add", "elan-reader") == 1
        assert "another command changed the packages of stack lab" in capsys.readouterr().err
        assert self.settings(folder).images.packages == ("sign-model",)
        assert packages.problem_of("lab", self.settings(folder)) == ""

    def meanwhile(self, monkeypatch: pytest.MonkeyPatch, other: Callable[[], int]) -> None:
        """Has another command run while the next one looks for versions."""

        def slowly(*arguments: Any, **options: Any) -> packages_lock.PackagesLock:
            monkeypatch.setattr(packages, "resolve", resolve)
            assert other() == 0
            return resolve(*arguments, **options)

        monkeypatch.setattr(packages, "resolve", slowly)

    def test_remove_takes_what_only_that_needed(self, folder, capsys):
        self.run("add", "elan-reader", "sign-model")
        assert self.run("remove", "elan-reader") == 0
        assert "- elan-reader 2.0" in capsys.readouterr().out
        assert self.run("remove", "sign-model") == 0
        assert not (folder / "Pulumi.lab.packages.txt").exists()
        assert self.settings(folder).images.packages == ()

    def test_list_says_what_came_of_each(self, capsys):
        self.run("add", "elan-reader", "numpy")
        capsys.readouterr()
        assert self.run("list", "--json") == 0
        said = json.loads(capsys.readouterr().out)
        assert said["in_order"]
        assert {row["name"]: row["version"] for row in said["packages"]} == {
            "elan-reader": "2.0",
            "numpy": "2.5.5",
            "xml-parts": "4.0",
        }

    def test_lock_makes_an_edit_by_hand_good(self, folder, capsys):
        self.run("add", "elan-reader")
        path = folder / "Pulumi.lab.yaml"
        path.write_text(path.read_text().replace("elan-reader", "elan-reader<2"))
        assert "elan-reader<2 is not in it" in packages.problem_of("lab", self.settings(folder))
        assert self.run("lock") == 0
        assert "~ elan-reader 2.0 -> 1.0" in capsys.readouterr().out
        assert packages.problem_of("lab", self.settings(folder)) == ""

    def test_upgrade_moves_only_what_is_named(self, folder):
        self.run("add", "elan-reader")
        lock = folder / "Pulumi.lab.packages.txt"
        known = packages_lock.read(lock)
        old = resolve(known.asked, DEFAULT_VARIANT, known={"xml-parts": "3.0"})
        lock.write_text(old.text)
        assert self.run("lock") == 0
        assert packages_lock.read(lock).pins["xml-parts"].version == "3.0"
        assert self.run("upgrade", "xml-parts") == 0
        assert packages_lock.read(lock).pins["xml-parts"].version == "4.0"

    def test_a_stack_of_images_has_none(self, folder, capsys):
        (folder / "Pulumi.lab.yaml").write_text("config:\n  cslr:matrix: {}\n")
        assert self.run("add", "elan-reader") == 1
        assert "only builds the images" in capsys.readouterr().err

    def test_nothing_named_says_how(self, capsys):
        assert self.run("add") == 1
        assert "ws packages add 'transformers>=5'" in capsys.readouterr().err
