"""A stack's settings, as the program reads them."""

import sys
from collections.abc import Callable

from config import keys as config_keys
from config import matrix as matrix_settings
from config.builds import BuildSettings
from config.cluster import ClusterPlace
from config.cluster_file import find_place
from config.load import config_value, load
from config.packages import load_lock
from config.platform import KEY, PlatformSettings
from config.stack_file import read_stack_config, stack_file
from preflight import docker_engine as engine_checks
from stack.identity import StackIdentity
from stack.sources import TorchChoice
from stack.stack import Stack
from ws.project import FOLDER


def settings_of(stack: str) -> PlatformSettings:
    """The settings in a stack's file. Raises `ConfigError` and `SettingsError`."""
    text = _config(stack)(KEY.partition(":")[2])
    return load(config_value(text), stack_file=stack_file(FOLDER, stack).name, place=place_of(stack))


def deployable_settings_of(stack: str) -> PlatformSettings:
    """The same with the lock of the stack's own packages. Raises `SettingsError` also where that is not in order."""
    settings = settings_of(stack)
    name = stack_file(FOLDER, stack).name
    return settings.with_packages(load_lock(settings.images, settings.variant, stack_file=name, key=KEY, folder=FOLDER))


def place_of(stack: str) -> ClusterPlace | None:
    """The place of a stack's host in a cluster of several hosts. Raises `ConfigError` and `SettingsError`."""
    return find_place(_config(stack), stack=stack, stack_file=stack_file(FOLDER, stack).name)


def looked_at(whose: StackIdentity) -> Stack:
    """A stack as in a preview: nothing is generated or written. Raises `ConfigError` and `SettingsError`."""
    return Stack(identity=whose, config=_config(whose.stack), dry_run=True, python=sys.executable)


def matrix_of(stack: str) -> object:
    """What a stack's file says of a matrix, unchecked; None for a stack that deploys. A key without a value is all
    defaults, as for the program. Raises `ConfigError`, and `SettingsError` for one that would also deploy.
    """
    config = _config(stack)
    text = config(matrix_settings.KEY.partition(":")[2])
    if text is None:
        return None
    matrix_settings.refuse_beside(config, stack_file=stack_file(FOLDER, stack).name)
    value = config_value(text)
    return {} if value is None else value


def build_settings_of(stack: str) -> tuple[BuildSettings, TorchChoice]:
    """How a stack's images are built, and with which torch. Raises `ConfigError` and `SettingsError`."""
    matrix = matrix_of(stack)
    if matrix is not None:
        return matrix_settings.parse(matrix, stack_file=stack_file(FOLDER, stack).name), "cuda"
    settings = deployable_settings_of(stack)
    return settings.images, settings.torch


def _config(stack: str) -> Callable[[str], str | None]:
    """The text of a key of this project, as the program is given it."""
    values = read_stack_config(FOLDER, stack).values
    config_keys.check(values, stack_file=stack_file(FOLDER, stack).name)
    engine_checks.refuse_other_engine(values, stack_file=stack_file(FOLDER, stack).name)
    return lambda key: values.get(f"{config_keys.PROJECT}:{key}")
