"""The environment of a container: one precedence for every service.

From weak to strong:

1. ``defaults``: the platform's preferences, such as limits of Ray and no telemetry;
2. ``user``: the service's ``env`` in the stack file;
3. ``required``: variables that the platform relies on. Most of these names are refused in ``env`` anyway
   (``RESERVED_ENVIRONMENT`` in config/platform_rules.py).

Variables that hold a list (`JOINED`) keep the platform's required entries, followed by the user's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# Where Python finds the hooks; under which names MLflow is known. Variable → what separates its entries.
JOINED: Mapping[str, str] = {
    "PYTHONPATH": ":",
    "MLFLOW_SERVER_ALLOWED_HOSTS": ",",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",",
}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Environment variables by precedence."""

    defaults: Mapping[str, str] = field(default_factory=dict)
    user: Mapping[str, str] = field(default_factory=dict)
    required: Mapping[str, str] = field(default_factory=dict)

    def merged(self) -> dict[str, str]:
        """One value for each variable."""
        lists = {
            name: separator.join(filter(None, (self.required[name], self.user.get(name))))
            for name, separator in JOINED.items()
            if name in self.required
        }
        return {"HOME": "/tmp", **self.defaults, **self.user, **self.required, **lists}  # noqa: S108
