"""A job's packages in its child environment, with real environments and local wheels, without network."""

import asyncio
import importlib.metadata
import importlib.util
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from entrypoints.hooks import runtime_packages
from entrypoints.hooks.child_environment import (
    ChildEnvironment,
    ImagePackage,
    create,
    find_program,
    fingerprint,
    image_packages,
    kept_versions,
    named_requirements,
)
from entrypoints.hooks.runtime_packages import Installation, Order, PackagesError, for_uv, uv_variables, with_hooks
from testing.wheels import write_wheel

CONFIGURED_PIP = runtime_packages.configured_pip
LOGGER = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "cslr_new", "1.0", ["pydantic>=1"])
    write_wheel(folder, "cslr_old", "1.0", ["pydantic<1"])
    write_wheel(folder, "cslr_slow", "1.0")
    write_wheel(folder, "pydantic", "0.5")
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(runtime_packages, "configured_pip", lambda environment: False)  # this machine's may be


def order(field: str, *packages: str, options: Sequence[str] = (), check: bool = False, installer: str = "") -> Order:
    return Order(field, packages, options, check, installer, {})


def install(target: Path, wanted: Order) -> ChildEnvironment:
    async def run() -> None:
        await Installation(target, wanted, LOGGER)

    asyncio.run(run())
    return ChildEnvironment(target / "virtualenv")


def run_python(child: ChildEnvironment, program: str) -> str:
    done = subprocess.run([child.python, "-c", program], capture_output=True, text=True, check=True, cwd=child.folder)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> ChildEnvironment:
    return create(tmp_path_factory.mktemp("child") / "env", image_packages())


class TestChildEnvironment:
    def test_it_imports_what_the_image_has_from_the_image(self, child: ChildEnvironment) -> None:
        path = run_python(child, "import pydantic; print(pydantic.__file__)")
        assert path.startswith(sys.prefix)

    def test_it_is_an_environment_of_its_own(self, child: ChildEnvironment) -> None:
        assert run_python(child, "import sys; print(sys.prefix)") == str(child.folder)

    def test_it_is_small(self, child: ChildEnvironment) -> None:
        used = sum(path.lstat().st_blocks * 512 for path in child.folder.rglob("*"))
        assert used < 10 * 2**20

    def test_a_script_of_the_image_runs_with_its_python(self, child: ChildEnvironment, tmp_path: Path) -> None:
        script = child.python.parent / "pytest"
        assert f"exec' {child.python}" in script.read_text().splitlines()[1]
        done = subprocess.run([script, "--version"], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    def test_a_shell_can_activate_and_deactivate_it(self, child: ChildEnvironment) -> None:
        activate = f". {child.python.parent}/activate; command -v python; deactivate; command -v python; true"
        done = subprocess.run(["bash", "-c", activate], capture_output=True, text=True, check=True)
        first, *second = done.stdout.split()  # a bare Debian has no program `python`
        assert first == str(child.python)
        assert first not in second

    def test_metadata_tell_which_package_a_module_is_of(self, child: ChildEnvironment) -> None:
        """MLflow writes a model's requirements by it."""
        found = run_python(child, "import importlib.metadata as m; print(m.packages_distributions()['pydantic'][0])")
        assert found == "pydantic"

    def test_entry_points_of_the_image_are_found(self, child: ChildEnvironment) -> None:
        found = run_python(
            child, "import importlib.metadata as m; print(m.entry_points(group='console_scripts')['pytest'].value)"
        )
        assert found == importlib.metadata.entry_points(group="console_scripts")["pytest"].value

    def test_nothing_of_the_image_counts_as_its_own(self, child: ChildEnvironment) -> None:
        assert child.own_packages() == {}

    def test_the_fingerprint_is_that_of_the_packages(self) -> None:
        packages = image_packages()
        other = {**packages, "x": ImagePackage("x", "1", Path("/x"), ())}
        assert fingerprint(packages) == fingerprint(dict(reversed(packages.items())))
        assert fingerprint(packages) != fingerprint(other)


class TestNamedRequirements:
    @pytest.mark.parametrize(
        ("line", "name"),
        [
            ("numpy", "numpy"),
            ("Foo_Bar[extra] >= 1.0 ; python_version > '3'", "foo-bar"),
            ("torch @ file:///wheels/torch.whl", "torch"),
            ("/wheels/torch_geometric-2.6-py3-none-any.whl", "torch-geometric"),
            ("https://host/a/torch-2.9.0+cu130-cp314-cp314-linux_x86_64.whl#sha256=1", "torch"),
            ("einops==0.8 --hash=sha256:12", "einops"),
            ("ray  # the cluster's", "ray"),
        ],
    )
    def test_a_line_names_its_package(self, line: str, name: str) -> None:
        assert [found for found, _ in named_requirements([line], Path(), {})] == [name]

    @pytest.mark.parametrize("line", ["", "# comment", "--index-url https://host/simple", "-e ."])
    def test_other_lines_name_none(self, line: str) -> None:
        assert list(named_requirements([line], Path(), {})) == []

    def test_a_file_that_a_line_names_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "more.txt").write_text("numpy<2\n-r more.txt\n")
        assert ("numpy", "numpy<2") in list(named_requirements(["-r more.txt"], tmp_path, {}))
        beside = {"RAY_RUNTIME_ENV_CREATE_WORKING_DIR": str(tmp_path)}
        line = "-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/more.txt"
        assert ("numpy", "numpy<2") in list(named_requirements([line], Path("/elsewhere"), beside))


class TestKeptVersions:
    IMAGE: ClassVar = {
        "torch": ImagePackage("torch", "2.13.0+cu130", Path(), ("nvidia-cudnn-cu13==9.1; x", "sympy")),
        "nvidia-cudnn-cu13": ImagePackage("nvidia-cudnn-cu13", "9.1", Path(), ()),
        "sympy": ImagePackage("sympy", "1.14", Path(), ()),
        "numpy": ImagePackage("numpy", "2.5.5", Path(), ()),
        "ray": ImagePackage("ray", "2.60.0", Path(), ("numpy",)),
    }

    def kept(self, *lines: str, upgrade: bool = False) -> set[str]:
        return set(kept_versions(self.IMAGE, named_requirements(lines, Path(), {}), upgrade=upgrade))

    def test_all_where_a_job_names_none_of_them(self) -> None:
        assert self.kept("torchmetrics") == set(self.IMAGE)

    def test_all_where_a_job_names_what_the_image_has(self) -> None:
        assert self.kept("torch>=2", "numpy", "ray[tune]==2.60.0") == set(self.IMAGE)

    def test_another_version_by_name_takes_what_it_needs_along(self) -> None:
        assert self.kept("torch==2.12") == {"numpy", "ray"}

    def test_ray_stays_whatever_a_job_says(self) -> None:
        assert "ray" in self.kept("ray==2.40", upgrade=True)

    def test_an_upgrade_frees_what_is_named(self) -> None:
        assert "numpy" not in self.kept("numpy", upgrade=True)


class TestInstallation:
    @pytest.fixture(params=["uv", "pip"])
    def field(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def local(self, wheels: Path) -> list[str]:
        return ["--no-index", "--find-links", str(wheels)]

    def test_only_what_is_missing_is_installed(self, field: str, wheels: Path, tmp_path: Path) -> None:
        """The index lacks pydantic>=1, as a mirror lacks the image's torch."""
        child = install(tmp_path / "job", order(field, "cslr_new", options=self.local(wheels)))
        assert child.own_packages() == {"cslr-new": "1.0"}
        assert run_python(child, "import cslr_new, pydantic; print(pydantic.VERSION)") == importlib.metadata.version(
            "pydantic"
        )

    def test_a_second_installation_shares_the_files_of_the_first(
        self, field: str, wheels: Path, tmp_path: Path
    ) -> None:
        wanted = order(field, "cslr_new", options=self.local(wheels))
        first, second = install(tmp_path / "first", wanted), install(tmp_path / "second", wanted)
        assert (first.site / "cslr_new/__init__.py").samefile(second.site / "cslr_new/__init__.py")

    def test_a_package_beside_the_job_s_program(
        self, field: str, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ray names the folder in a variable, and only while it begins to install."""
        monkeypatch.setenv("RAY_RUNTIME_ENV_CREATE_WORKING_DIR", str(wheels))
        line = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/cslr_slow-1.0-py3-none-any.whl"
        installation = Installation(tmp_path / "job", order(field, line, options=["--no-index"]), LOGGER)
        monkeypatch.delenv("RAY_RUNTIME_ENV_CREATE_WORKING_DIR")
        asyncio.run(installation._run())
        assert ChildEnvironment(tmp_path / "job/virtualenv").own_packages() == {"cslr-slow": "1.0"}

    def test_a_conflict_is_said_with_both_sides(self, field: str, wheels: Path, tmp_path: Path) -> None:
        with pytest.raises(PackagesError) as failure:
            install(tmp_path / "job", order(field, "cslr_old", options=self.local(wheels)))
        assert f"the image, which has pydantic {importlib.metadata.version('pydantic')}" in str(failure.value)
        assert "pydantic<1" in str(failure.value)
        assert not (tmp_path / "job").exists()

    def test_the_job_may_name_another_version(self, field: str, wheels: Path, tmp_path: Path) -> None:
        child = install(tmp_path / "job", order(field, "cslr_old", "pydantic<1", options=self.local(wheels)))
        assert child.own_packages() == {"cslr-old": "1.0", "pydantic": "0.5"}
        assert run_python(child, "import pydantic; print(pydantic.__version__)") == "0.5"

    def test_a_wrong_name_is_said_and_leaves_nothing(self, field: str, wheels: Path, tmp_path: Path) -> None:
        with pytest.raises(PackagesError, match="a name or version is wrong"):
            install(tmp_path / "job", order(field, "cslr-nosuch", options=self.local(wheels)))
        assert not (tmp_path / "job").exists()

    def test_an_index_that_does_not_answer_is_given_up_soon(self, field: str, tmp_path: Path) -> None:
        began = time.monotonic()
        with pytest.raises(PackagesError, match="the package index did not answer"):
            install(tmp_path / "job", order(field, "--index-url http://127.0.0.1:9/simple", "cslr_new"))
        assert time.monotonic() - began < 60  # 2 s on an idle machine

    def test_what_a_killed_agent_left_is_replaced(self, field: str, wheels: Path, tmp_path: Path) -> None:
        (tmp_path / "job" / "virtualenv" / "bin").mkdir(parents=True)
        install(tmp_path / "job", order(field, "cslr_new", options=self.local(wheels)))

    def test_two_at_once_do_not_meet(self, field: str, wheels: Path, tmp_path: Path) -> None:
        async def both() -> None:
            wanted = order(field, "cslr_new", options=self.local(wheels))
            await asyncio.gather(*(Installation(tmp_path / name, wanted, LOGGER)._run() for name in ("a", "b")))

        asyncio.run(both())
        assert all(ChildEnvironment(tmp_path / name / "virtualenv").own_packages() for name in ("a", "b"))

    @pytest.mark.parametrize("after", [0.0, 0.05, 0.3])
    def test_a_cancelled_one_leaves_nothing(self, field: str, wheels: Path, tmp_path: Path, after: float) -> None:
        async def cancelled() -> None:
            wanted = order(field, "cslr_new", options=self.local(wheels))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(self.held(Installation(tmp_path / "job", wanted, LOGGER)), after)

        asyncio.run(cancelled())
        assert not (tmp_path / "job").exists()

    @staticmethod
    async def held(installation: Installation) -> None:
        call = installation._call

        async def slow(command: Sequence[str], work: Path) -> tuple[int, str]:
            return await call(["sleep", "60"], work)

        installation._call = slow  # type: ignore[method-assign]
        await installation

    def test_a_check_that_finds_nothing_wrong_passes(self, field: str, wheels: Path, tmp_path: Path) -> None:
        if subprocess.run([find_program("uv") or "", "pip", "check", "--python", sys.executable]).returncode:
            pytest.skip("this Python's own packages do not fit each other")
        install(tmp_path / "job", order(field, "cslr_new", options=self.local(wheels), check=True))

    def test_a_full_disk_is_said(self, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(runtime_packages, "create", full)
        with pytest.raises(PackagesError, match=f"the disk of {tmp_path}/job is full"):
            install(tmp_path / "job", order(field, "x"))
        assert not (tmp_path / "job").exists()

    def test_options_that_only_pip_has_make_pip_install(self, wheels: Path, tmp_path: Path) -> None:
        if not find_program("pip") and not importlib.util.find_spec("pip"):
            pytest.skip("needs pip in this environment")
        child = install(tmp_path / "job", order("pip", "cslr_new", options=[*self.local(wheels), "--prefer-binary"]))
        assert child.own_packages() == {"cslr-new": "1.0"}
        assert (child.site / "cslr_new-1.0.dist-info" / "INSTALLER").read_text().strip() == "pip"


class TestPipForUv:
    def test_a_file_that_configures_pip_is_left_to_pip(self, tmp_path: Path) -> None:
        (tmp_path / "pip.conf").write_text("[global]\nno-deps = true\n")
        assert CONFIGURED_PIP({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})

    def test_options_mean_the_same(self) -> None:
        assert for_uv(["einops"], ["-i", "https://host/simple", "--pre", "-q", "--trusted-host=host"]) == (
            ["einops"],
            ["--index-url", "https://host/simple", "--prerelease=allow", "--allow-insecure-host", "host"],
        )

    def test_lines_that_uv_reads_stay(self) -> None:
        lines = ["--extra-index-url https://host/simple", "-f /wheels", "einops", "-r more.txt"]
        assert for_uv(lines, []) == (lines, [])

    def test_lines_that_uv_does_not_read_become_options(self) -> None:
        assert for_uv(["--trusted-host host", "einops"], []) == (["einops"], ["--allow-insecure-host", "host"])

    @pytest.mark.parametrize("option", ["--prefer-binary", "--use-feature=x", "--target=/x", "--report"])
    def test_an_option_of_pip_alone_is_left_to_pip(self, option: str) -> None:
        assert for_uv(["einops"], [option]) is None
        assert for_uv([option, "einops"], []) is None

    def test_variables_mean_the_same(self) -> None:
        assert uv_variables({"PIP_INDEX_URL": "https://host/simple", "PIP_NO_INDEX": ""}) == {
            "UV_DEFAULT_INDEX": "https://host/simple"
        }
        assert uv_variables({"PIP_INDEX_URL": "https://a", "UV_DEFAULT_INDEX": "https://b"}) == {}

    def test_rays_default_options_do_not_keep_the_cache_out(self) -> None:
        assert (
            Order.of(
                "pip", FakeEnv(pip_install_options=["--disable-pip-version-check", "--no-cache-dir"]), None
            ).options
            == []
        )
        assert Order.of("uv", FakeEnv(uv_pip_install_options=["--no-cache"]), None).options == []
        assert Order.of("uv", FakeEnv(uv_pip_install_options=["--no-cache", "--no-deps"]), None).options != []


class FakeEnv:
    """Ray's RuntimeEnv."""

    def __init__(self, **config: object) -> None:
        self.config = {"packages": ["cslr_new"], **config}

    def pip_config(self) -> dict[str, object]:
        return self.config

    uv_config = pip_config

    def env_vars(self) -> dict[str, str]:
        return {}


class TestHooks:
    @pytest.mark.parametrize(("hook", "name"), [("hook_uv", "UvProcessor"), ("hook_pip", "PipProcessor")])
    def test_rays_processors_are_replaced(self, hook: str, name: str) -> None:
        module = fake_ray(name)
        getattr(runtime_packages, hook)(module)
        assert isinstance(getattr(module, name)("/target", FakeEnv(), LOGGER), Installation)

    def test_outside_a_virtual_environment_ray_keeps_its_own_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in the official Ray images."""
        monkeypatch.setattr(sys, "base_prefix", sys.prefix)
        module = fake_ray("PipProcessor")
        own = module.PipProcessor
        runtime_packages.hook_pip(module)
        assert module.PipProcessor is own

    def test_without_an_installer_ray_keeps_its_own_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runtime_packages, "find_program", lambda name: None)
        module = fake_ray("UvProcessor")
        own = module.UvProcessor
        runtime_packages.hook_uv(module)
        assert module.UvProcessor is own

    def test_every_hook_of_the_table_exists(self) -> None:
        from entrypoints.hooks.registry import HOOKS

        own = [hook for hooks in HOOKS.values() for hook in hooks if hook.startswith("runtime_packages:")]
        assert all(callable(getattr(runtime_packages, hook.partition(":")[2])) for hook in own)

    SITE = str(Path(runtime_packages.__file__).parent / "site")

    def test_a_job_s_pythonpath_comes_after_the_hooks(self) -> None:
        assert with_hooks({"PYTHONPATH": "/a:/b"}, self.SITE) == {"PYTHONPATH": f"{self.SITE}:/a:/b"}
        assert with_hooks({"PYTHONPATH": ""}, self.SITE) == {"PYTHONPATH": self.SITE}

    def test_a_pythonpath_with_the_hooks_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", self.SITE)
        for same in ({"A": "1"}, {"PYTHONPATH": f"/a:{self.SITE}"}, {"PYTHONPATH": "/a:${PYTHONPATH}"}):
            assert with_hooks(same, self.SITE) == same

    def test_where_there_are_no_hooks_nothing_is_added(self) -> None:
        assert with_hooks({"PYTHONPATH": "/a"}, "/other") == {"PYTHONPATH": "/a"}


def fake_ray(name: str) -> Any:
    module = ModuleType("ray._private.runtime_env.fake")
    module.default_logger = LOGGER  # type: ignore[attr-defined]
    setattr(module, name, type(name, (), {}))
    return module
