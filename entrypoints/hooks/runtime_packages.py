"""Hook into Ray that installs a job's packages: ``runtime_env={"pip": ...}`` and ``{"uv": ...}`` in our images.

Ray copies its whole virtual environment for each of them (2 GB), and installs into the copy with pip. Here a job gets a
child environment (child_environment.py): made in less than a second, and filled by uv with the packages that the image
lacks, as hard links from the host's cache. pip's options keep their meaning; if uv lacks an option, pip itself installs
into the child. The image's versions stay, except for packages that the job itself requires at another. Outside a
virtual environment (the official Ray images) Ray's own behaviour stays. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .child_environment import (  # not entrypoints.X: Ray imports this as cslr_hooks.X
    PROTECTED,
    ChildEnvironment,
    ImagePackage,
    create,
    find_program,
    image_packages,
    in_virtual_environment,
    kept_versions,
    named_requirements,
)

SHOWN_LINES = 30
RAY_NEEDS = ("ray", "pyarrow")  # imported by every worker of Ray if installed
# Ray tries a failed environment three times, so an index that does not answer must be given up soon.
UV_DEFAULTS = {
    "UV_HTTP_CONNECT_TIMEOUT": "5",
    "UV_HTTP_RETRIES": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
PIP_DEFAULTS = {"PIP_RETRIES": "1", "PIP_TIMEOUT": "10", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
# Variables of the agent that must not affect the environment that is installed into.
NOT_INHERITED = ("VIRTUAL_ENV", "UV_SYSTEM_PYTHON", "UV_PROJECT_ENVIRONMENT", "PYTHONHOME", "PYTHONPATH")

# Option of `pip install` → of `uv pip install`; "" means that uv needs none.
FLAGS = {
    "--no-index": "--no-index",
    "--no-deps": "--no-deps",
    "--pre": "--prerelease=allow",
    "--upgrade": "--upgrade",
    "-U": "--upgrade",
    "--no-build-isolation": "--no-build-isolation",
    "--require-hashes": "--require-hashes",
    "--no-cache-dir": "--no-cache",
    "--disable-pip-version-check": "",
    "--no-input": "",
    "--no-color": "",
    "--no-warn-script-location": "",
    "--quiet": "",
    "-q": "",
    "--verbose": "",
    "-v": "",
}
VALUED = {
    "--index-url": "--index-url",
    "-i": "--index-url",
    "--extra-index-url": "--extra-index-url",
    "--find-links": "--find-links",
    "-f": "--find-links",
    "--only-binary": "--only-binary",
    "--no-binary": "--no-binary",
    "--trusted-host": "--allow-insecure-host",
    "--constraint": "--constraints",
    "-c": "--constraints",
    "--requirement": "--requirements",
    "-r": "--requirements",
    "--progress-bar": "",
}
# Options that uv too reads in requirements. All others of a requirements file become options of the command.
IN_REQUIREMENTS = (
    *("-r", "--requirement", "-c", "--constraint", "-e", "--editable", "-i", "--index-url", "--extra-index-url"),
    *("-f", "--find-links", "--no-index", "--no-binary", "--only-binary"),
)
# Environment variables of pip → of uv.
VARIABLES = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
    "PIP_CONSTRAINT": "UV_CONSTRAINT",
    "PIP_CERT": "SSL_CERT_FILE",
    "PIP_PRE": "UV_PRERELEASE",
}
# Ray's default options, which only keep single-use packages out of a cache.
RAY_DEFAULTS = (["--no-cache"], ["--disable-pip-version-check", "--no-cache-dir"])


class PackagesError(RuntimeError):
    """A job's packages cannot be installed; Ray shows the message in the job's status."""


@dataclass(frozen=True)
class Order:
    """A job's request for packages."""

    field: str  # "uv" or "pip"
    packages: Sequence[str]  # lines of a requirements file
    options: Sequence[str]
    check: bool
    installer: str  # required version of the installer, such as "==26.0"; empty: any
    variables: Mapping[str, str]  # the job's own env_vars

    @classmethod
    def of(cls, field: str, runtime_env: Any, expand: Callable[[str, Mapping[str, str]], str] | None) -> Order:  # noqa: ANN401
        """Read a runtime_env of Ray; ``expand`` replaces `$VARIABLE` in uv's fields as Ray does."""
        config = runtime_env.uv_config() if field == "uv" else runtime_env.pip_config()
        variables = dict(runtime_env.env_vars() or {})
        every = {**os.environ, **variables}
        options = list(config.get(f"{field}_pip_install_options" if field == "uv" else "pip_install_options") or [])
        lines = [expand(line, every) if expand else line for line in config["packages"]]
        options = [] if options in RAY_DEFAULTS else [expand(word, every) if expand else word for word in options]
        check, version = bool(config.get(f"{field}_check")), str(config.get(f"{field}_version") or "")
        return cls(field, lines, options, check, version, variables)


def hook_uv(module: ModuleType) -> None:
    """Change `ray._private.runtime_env.uv`."""
    _replace(module, "UvProcessor", "uv", getattr(module, "_expand_env_vars", None))


def hook_pip(module: ModuleType) -> None:
    """Change `ray._private.runtime_env.pip`."""
    _replace(module, "PipProcessor", "pip", None)


def hook_context(module: ModuleType) -> None:
    """Change `ray._private.runtime_env.context`: a job's own PYTHONPATH comes after that of the hooks."""
    context = module.RuntimeEnvContext
    exec_worker = context.exec_worker

    def exec_with_hooks(self: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        self.env_vars = with_hooks(self.env_vars, os.environ.get("PYTHONPATH", ""))
        return exec_worker(self, *arguments, **options)

    context.exec_worker = exec_with_hooks


def with_hooks(variables: Mapping[str, str], inherited: str) -> dict[str, str]:
    """Return a job's variables with the hooks' folder kept first in its PYTHONPATH."""
    ours = [folder for folder in inherited.split(os.pathsep) if folder == str(Path(__file__).parent / "site")]
    theirs = variables.get("PYTHONPATH")
    if theirs is None or not ours or ours[0] in os.path.expandvars(theirs).split(os.pathsep):
        return dict(variables)
    return {**variables, "PYTHONPATH": os.pathsep.join([ours[0], *([theirs] if theirs else [])])}


def _replace(module: ModuleType, name: str, field: str, expand: Callable[[str, Mapping[str, str]], str] | None) -> None:
    if not in_virtual_environment() or not (find_program("uv") or find_program("pip")):
        return

    def processor(target_dir: str, runtime_env: Any, logger: logging.Logger = module.default_logger) -> Installation:  # noqa: ANN401
        return Installation(Path(target_dir), Order.of(field, runtime_env, expand), logger)

    if not callable(getattr(module, name)):
        raise TypeError(f"{name} is not a class")
    setattr(module, name, processor)


class Installation:
    """Makes the environment of a job in a folder that Ray names; await it. On any failure the folder is gone."""

    def __init__(self, target: Path, order: Order, logger: logging.Logger) -> None:
        self._target = target
        self._order = order
        self._logger = logger
        self._inherited = dict(os.environ)  # Ray sets variables of the working_dir there, for a moment

    def __await__(self) -> Generator[Any, None, None]:
        return self._run().__await__()

    async def _run(self) -> None:
        try:
            await self._install()
        except BaseException as error:  # including CancelledError: an incomplete environment must not be used
            await asyncio.shield(_in_thread(shutil.rmtree, self._target, True))
            if isinstance(error, OSError):
                raise PackagesError(_reason(error, self._target)) from error
            raise

    async def _install(self) -> None:
        # Remains of an agent that was killed; Ray's lock keeps out a second one.
        await _in_thread(shutil.rmtree, self._target, True)
        packages = await _in_thread(image_packages)
        work = self._target / "exec_cwd"  # empty, so that nothing there is imported instead of a package
        work.mkdir(parents=True)
        child = await _in_thread(create, self._target / "virtualenv", packages)
        named = list(named_requirements(self._order.packages, work, self._environment()))
        kept = kept_versions(packages, named, upgrade=bool({"-U", "--upgrade"} & set(self._order.options)))
        requirements, constraints = self._target / "requirements.txt", self._target / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()))
        command = await self._command(child, requirements, constraints)
        code, output = await self._call(command, work)
        if code:
            raise PackagesError(explain(output, self._order, packages, kept))
        if changed := changed_protected(child, packages):
            raise PackagesError(changed)
        await self._see_that_ray_works(child, packages, work)
        if self._order.check:
            await self._check(child, work)

    async def _command(self, child: ChildEnvironment, requirements: Path, constraints: Path) -> list[str]:
        """Return the command that installs; the requirements are written."""
        uv, lines, options = find_program("uv"), list(self._order.packages), list(self._order.options)
        if uv and self._order.field == "pip":
            translated = (
                None if self._order.installer or configured_pip(self._environment()) else for_uv(lines, options)
            )
            if translated is None:
                uv = None
            else:
                lines, options = translated
        requirements.write_text("".join(f"{line}\n" for line in lines))
        if self._order.installer:
            await self._take_installer(child, uv or find_program("uv"))
            uv = str(child.python.parent / "uv") if self._order.field == "uv" else None
        if uv:
            where = ["--python", str(child.python), "-r", str(requirements), "-c", str(constraints)]
            return [uv, "pip", "install", *where, *options]
        return [str(child.python), "-m", "pip", "install", "-r", str(requirements), "-c", str(constraints), *options]

    async def _take_installer(self, child: ChildEnvironment, uv: str | None) -> None:
        """Install the version of uv or pip that the job requires."""
        wanted = f"{self._order.field}{self._order.installer}"
        install = (
            [uv, "pip", "install", "--python", str(child.python)] if uv else [str(child.python), "-m", "pip", "install"]
        )
        code, output = await self._call([*install, wanted], self._target / "exec_cwd")
        if code:
            raise PackagesError(f"{wanted}, which is to install the job's packages, cannot be had:\n{_last(output)}")

    async def _see_that_ray_works(
        self, child: ChildEnvironment, packages: Mapping[str, ImagePackage], work: Path
    ) -> None:
        """Find import errors here: a worker would only log them, and Ray would restart it repeatedly."""
        replaced = {name: version for name, version in child.own_packages().items() if name in packages}
        needed = [name for name in RAY_NEEDS if name in packages]
        if not replaced or not needed:
            return
        code, output = await self._call([str(child.python), "-c", f"import {', '.join(needed)}"], work)
        if code:
            instead = ", ".join(f"{name} {version}" for name, version in sorted(replaced.items()))
            raise PackagesError(f"Ray does not work with what the job's packages replace ({instead}):\n{_last(output)}")

    async def _check(self, child: ChildEnvironment, work: Path) -> None:
        uv = find_program("uv")
        command = (
            [uv, "pip", "check", "--python", str(child.python)] if uv else [str(child.python), "-m", "pip", "check"]
        )
        code, output = await self._call(command, work)
        if code:
            raise PackagesError(
                f"{self._order.field}_check found packages that do not fit each other:\n{_last(output)}"
            )

    def _environment(self) -> dict[str, str]:
        """The installer's environment: the node's variables, overridden by the job's."""
        inherited = {key: value for key, value in self._inherited.items() if key not in NOT_INHERITED}
        theirs = {key: value for key, value in self._order.variables.items() if key not in NOT_INHERITED}
        translated = uv_variables(theirs) if self._order.field == "pip" else {}
        environment = {**UV_DEFAULTS, **PIP_DEFAULTS, **uv_variables(inherited), **inherited, **translated, **theirs}
        if self._order.field == "pip":
            environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # pip's choice among several indexes
        cache = environment.get("UV_CACHE_DIR")
        if cache and not _writable(Path(cache)):
            environment["UV_NO_CACHE"] = "1"
        return environment

    async def _call(self, command: Sequence[str], work: Path) -> tuple[int, str]:
        """Run a command; its exit code and output. Cancelling ends its children too."""
        self._logger.info("Job's packages: %s", " ".join(command))
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=work,
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        output = said.decode(errors="replace")
        self._logger.info("Job's packages: exit code %s\n%s", process.returncode, output)
        return process.returncode or 0, output


async def _in_thread(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
    """Call a function in a thread, and wait for its end even if cancelled: it must not continue after a clean-up."""
    future = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await future
        raise


# ----------------------------------------------------------------------------------- pip's options and variables for uv


def for_uv(lines: Sequence[str], options: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Translate pip's requirements and options for uv; None if uv lacks an option, so that pip must install."""
    kept, moved = [], list(options)
    for line in lines:
        words = line.split()
        option = re.split(r"[=\s]", line.strip(), maxsplit=1)[0] if line.strip().startswith("-") else ""
        if option and option not in IN_REQUIREMENTS:
            moved += words
        elif re.search(r"\s--(?:config-settings?|global-option)\b", line):
            return None
        else:
            kept.append(line)
    translated = _options_for_uv(moved)
    return None if translated is None else (kept, translated)


def _options_for_uv(options: Sequence[str]) -> list[str] | None:
    translated: list[str] = []
    words = iter(word for option in options for word in (option.split() if option.startswith("-") else [option]))
    for word in words:
        name, equals, value = word.partition("=")
        if word in FLAGS:
            translated += [FLAGS[word]] if FLAGS[word] else []
        elif name in VALUED:
            value = value if equals else next(words, "")
            translated += [VALUED[name], value] if VALUED[name] else []
        else:
            return None
    return translated


def uv_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Translate pip's environment variables for uv; a variable of uv itself takes precedence."""
    found = {theirs: environment[ours] for ours, theirs in VARIABLES.items() if environment.get(ours)}
    if "UV_PRERELEASE" in found:
        found["UV_PRERELEASE"] = "allow"
    return {key: value for key, value in found.items() if key not in environment}


def configured_pip(environment: Mapping[str, str]) -> bool:
    """Whether a file configures pip; only pip can interpret it."""
    home = Path(environment.get("HOME", "/nonexistent"))
    files = [home / ".config/pip/pip.conf", home / ".pip/pip.conf", Path("/etc/pip.conf"), Path(sys.prefix, "pip.conf")]
    named = environment.get("PIP_CONFIG_FILE")
    return any(file.is_file() for file in [*files, *([Path(named)] if named else [])])


# ------------------------------------------------------------------------------------------------------- what failed


def changed_protected(child: ChildEnvironment, packages: Mapping[str, ImagePackage]) -> str:
    """Return a sentence about a protected package that changed; empty if none did."""
    own = child.own_packages()
    for name in PROTECTED:
        if name in own and name in packages and own[name] != packages[name].version:
            return (
                f"The job's packages bring {name} {own[name]}, and the cluster runs {name} {packages[name].version}, "
                f"which cannot be changed for one job. Ask for {name}=={packages[name].version}, or leave it out."
            )
    return ""


def explain(output: str, order: Order, packages: Mapping[str, ImagePackage], kept: Mapping[str, str]) -> str:
    """Return why an installation failed: the remedy first, then the installer's own message."""
    return f"{_cause(output, order, packages, kept)}\n{_last(output)}"


def _cause(output: str, order: Order, packages: Mapping[str, ImagePackage], kept: Mapping[str, str]) -> str:
    wanted = f"The packages of runtime_env[{order.field!r}]"
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return f"{wanted} cannot be installed: the disk is full. Remove what is no longer needed from /scratch."
    if re.search(
        r"error sending request|Failed to fetch|dns error|NewConnectionError|ConnectTimeout|timed out", output
    ):
        return (
            f"{wanted} cannot be installed: the package index did not answer. On a closed network name a mirror in the "
            "stack's images.mirrors.pypi, or give the job one: '--index-url ...'."
        )
    sides = [name for name in kept if re.search(rf"(?<![\w-]){re.escape(name)}(?:==|<|>|!=|~=)", output, re.IGNORECASE)]
    if sides and re.search(r"No solution found|ResolutionImpossible|conflict", output):
        fixed = [f"{name} {packages[name].version}" for name in sides]
        protected = [name for name in sides if name in PROTECTED]
        way_out = (
            f"{protected[0]} cannot be another for one job."
            if protected
            else f"Take a version that fits, or name the other {sides[0]} in the list too: '{sides[0]}<...'."
        )
        return f"{wanted} do not fit the image, which has {', '.join(fixed)}. {way_out}"
    if re.search(r"was not found in the package registry|No matching distribution|not found in the provided", output):
        return f"{wanted} cannot be found: a name or version is wrong, or the index lacks it."
    return f"{wanted} cannot be installed."


def _reason(error: OSError, target: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The job's packages cannot be installed: the disk of {target} is full. Make room on /scratch."
    return f"The job's packages cannot be installed in {target}: {error.strerror or error}."


def _last(output: str) -> str:
    return "\n".join(f"    {line}" for line in output.strip().splitlines()[-SHOWN_LINES:])


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
