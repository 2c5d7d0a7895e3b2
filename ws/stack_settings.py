"""A stack's settings, as the program reads them."""

from components.settings import KEY, PlatformSettings, config_value, load
from components.stack_file import read_stack_config, stack_file
from ws.project import FOLDER


def settings_of(stack: str) -> PlatformSettings:
    """The settings in a stack's file. Raises `ConfigError` and `SettingsError`."""
    text = read_stack_config(FOLDER, stack).values.get(KEY)
    return load(config_value(text), stack_file=stack_file(FOLDER, stack).name)
