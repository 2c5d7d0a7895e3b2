"""Loads validated settings from the text of a stack file: first the models, then the cross-field rules."""

from pydantic import ValidationError

from config import cluster_rules, platform_rules
from config.cluster import Membership
from config.explain import explained
from config.json_text import parse_json
from config.platform import KEY, PlatformSettings
from config.problems import SettingsError


def config_value(text: str | None) -> object:
    """The value of a config key from its text: JSON, as objects are kept; other text is left for `load` to explain."""
    try:
        return parse_json(text) if text else None
    except ValueError:
        return text


def load(raw: object, *, stack_file: str, key: str = KEY, membership: Membership | None = None) -> PlatformSettings:
    """The settings in ``raw``, the value of ``key`` in ``stack_file`` as YAML or JSON delivers it; None: all defaults.
    Those of a host of a cluster follow its ``place``.

    Raises:
        SettingsError: with every problem that can be seen without looking at the host.
    """
    try:
        settings = PlatformSettings.model_validate(raw)
    except ValidationError as error:
        raise explained(error, PlatformSettings, stack_file, key) from None
    problems = cluster_rules.run(settings, membership) if membership else []
    settings = settings.with_membership(membership) if membership else settings
    if problems := [*problems, *platform_rules.run(settings)]:
        raise SettingsError(problems, stack_file, key)
    return settings
