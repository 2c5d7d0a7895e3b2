"""The Pulumi CLI and what it needs for this program: found, or installed where it can be downloaded."""

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from config.project import state_root
from stack.state import write_atomically
from ws.environment import plugins_may_be_downloaded, pulumi_home

INSTALLER = "https://get.pulumi.com/install.sh"
PROBE_SECONDS = 3.0
REMEMBERED_SECONDS = 24 * 3600.0
SDKS = ("pulumi_docker", "pulumi_command")  # each pins the plugin that the CLI loads
LANGUAGE = "pulumi-language-python"


@dataclass(frozen=True, kw_only=True)
class Availability:
    """The CLI that can deploy this program, or else the reason why none can, as a clause."""

    cli: Path | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A provider plugin of the CLI."""

    name: str
    version: str

    @property
    def program(self) -> str:
        """Its file name."""
        return f"pulumi-resource-{self.name}"

    def present(self, cli: Path) -> bool:
        """Whether the CLI finds it without a download."""
        installed = pulumi_home() / "plugins" / f"resource-{self.name}-v{self.version}" / self.program
        return installed.exists() or _beside(cli, self.program)


def look(say: Callable[[str], None], *, fresh: bool = False) -> Availability:
    """Finds the CLI, installing it if necessary. `fresh` probes the network even if it was probed within a day."""
    cli = find()
    if cli is None:
        if not downloads_answer(fresh=fresh):
            return Availability(reason=f"there is no Pulumi CLI here, and {INSTALLER} does not answer")
        say("installing the Pulumi CLI")
        try:
            cli = install()
        except Exception as error:  # noqa: BLE001 (the installer raises whatever its download meets)
            return Availability(reason=f"the Pulumi CLI could not be installed: {_last_line(error)}")
    if not _beside(cli, LANGUAGE):
        return Availability(reason=f"{cli} has no {LANGUAGE} beside it")
    missing = [plugin.program for plugin in plugins() if not plugin.present(cli)]
    if missing and not _may_download(fresh=fresh):
        return Availability(reason=f"Pulumi's {' and '.join(missing)} cannot be downloaded")
    return Availability(cli=cli)


def find() -> Path | None:
    """The CLI on PATH, in Pulumi's own folder, or where `install` puts it."""
    on_path = shutil.which("pulumi")
    places = [Path(on_path)] if on_path else []
    places += [pulumi_home() / "bin" / "pulumi", own_folder() / "bin" / "pulumi"]
    return next((place for place in places if os.access(place, os.X_OK)), None)


def own_folder() -> Path:
    """Where `install` puts the CLI."""
    return state_root() / "pulumi" / "cli"


def install() -> Path:
    """Downloads the CLI of the SDK's version with the SDK's own installer."""
    from pulumi.automation import PulumiCommand

    return Path(PulumiCommand.install(root=str(own_folder())).command)


def plugins() -> Iterator[Plugin]:
    """The provider plugins that the pinned SDKs ask for."""
    for package in SDKS:
        spec = find_spec(package)
        if spec and spec.submodule_search_locations:
            pinned = json.loads((Path(spec.submodule_search_locations[0]) / "pulumi-plugin.json").read_text())
            yield Plugin(name=pinned["name"], version=pinned["version"].removeprefix("v"))


def downloads_answer(*, fresh: bool = False, seconds: float = PROBE_SECONDS) -> bool:
    """Whether Pulumi's own server answers, and no proxy's page in its place. Remembered for a day."""
    kept = state_root() / "pulumi" / "downloads.json"
    if not fresh:
        try:
            known = json.loads(kept.read_text())
            if 0 <= time.time() - known["at"] < REMEMBERED_SECONDS:
                return bool(known["answer"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
    answer = _is_shell_script(INSTALLER, seconds)
    write_atomically(kept, json.dumps({"answer": answer, "at": time.time()}).encode(), 0o600)
    return answer


def _may_download(*, fresh: bool) -> bool:
    return plugins_may_be_downloaded() and downloads_answer(fresh=fresh)


def _is_shell_script(url: str, seconds: float) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310 (https)
            return bool(answer.read(2) == b"#!")
    except (OSError, ValueError):
        return False


def _beside(cli: Path, program: str) -> bool:
    return (cli.resolve().parent / program).exists() or (cli.parent / program).exists() or bool(shutil.which(program))


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
