"""A stack's settings, as the program reads them."""

import json

from components.settings import KEY, PlatformSettings, load
from components.stack_file import read_stack_config, stack_file
from ws.project import FOLDER


def settings_of(stack: str) -> PlatformSettings:
    """The settings in a stack's file. Raises `ConfigError` and `SettingsError`."""
    raw = read_stack_config(FOLDER, stack).values.get(KEY)
    return load(json.loads(raw) if raw else None, stack_file=stack_file(FOLDER, stack).name)
