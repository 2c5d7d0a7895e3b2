"""The platform's secrets: their sources, and the files in which containers get them.

A secret set in the encrypted stack config wins, so that several hosts can share it; otherwise it is generated on first
use into the state folder, or made from the key of its cluster (``cluster_key.py``). No secret is ever an environment
variable, an argument or a label.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from config.remedies import secret_command, stack_of, unset_command
from contracts import mlflow_login
from coordination import redis_users
from stack.mount import Mount
from stack.state import HostFiles

RAY_AUTHORITY = "ray-authority"  # never in a container: stack/ray_tls.py makes the key of Ray's authority from it
# name of the file in /run/secrets → key of the stack config
SECRETS = {
    "redis-password": "redisPassword",
    "postgres-password": "postgresPassword",
    "ray-token": "rayToken",
    RAY_AUTHORITY: "rayAuthority",
    "marimo-token": "marimoToken",
    "transcription-token": "transcriptionToken",
    "grafana-password": "grafanaPassword",
    "grafana-secret-key": "grafanaSecretKey",
    mlflow_login.ADMIN_SECRET: "mlflowAdminPassword",
    mlflow_login.SERVICE_SECRET: "mlflowPassword",
}
# Documents that hold secrets, for programs that read them nowhere else.
ALERT_ROUTES, REDIS_CONF, REDIS_EXPORTER = "alertmanager.yaml", "redis.conf", "redis-exporter.json"
NOTEBOOK_TOKEN = "marimo-token"  # noqa: S105 (the name of a file)
# Not in the stack config: it has former values as well, without which what they encrypt would be lost.
GATEWAY_KEY = "mlflow-gateway-key"
MINIMUM_LENGTH = 8
LONGER = {
    **dict.fromkeys((mlflow_login.ADMIN_SECRET, mlflow_login.SERVICE_SECRET), mlflow_login.SHORTEST),
    RAY_AUTHORITY: 32,  # whoever knows a certificate of it can try secrets as fast as a computer can
}
SECRETS_TARGET = "/run/secrets"
# How Ray's processes and clients find the token of the cluster.
RAY_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{SECRETS_TARGET}/ray-token"}


class SecretError(ValueError):
    """A secret of the stack config that no service could use; says which key and how to set it."""


@dataclass(frozen=True, kw_only=True)
class SecretFiles:
    """Values by name, and their mounts. `repr` shows no value."""

    files: HostFiles
    values: dict[str, str] = field(repr=False)

    @classmethod
    def resolve(
        cls,
        files: HostFiles,
        configured: Callable[[str], str | None],
        *,
        stack_file: str,
        namespace: str,
        made: Callable[[str], str] | None = None,
    ) -> "SecretFiles":
        """Takes each secret from the stack config, else from the state folder, or as it is `made` by its name.

        `configured` maps a config key to its plain value or None. Raises `SecretError`.
        """
        made = made or files.generated
        stack = stack_of(stack_file) or "STACK"
        values = {}
        for name, key in SECRETS.items():
            value = configured(key)
            if value is not None and not is_usable(value, name):
                raise SecretError(
                    f"{stack_file}: {namespace}:{key}: not usable as a secret.\n"
                    f"  It must have at least {minimum_length(name)} printable ASCII characters and no space. "
                    "Set another:\n"
                    f"    {secret_command(stack, f'{namespace}:{key}')}\n"
                    f"  or remove it, and one is generated:\n"
                    f"    {unset_command(stack, f'{namespace}:{key}')}"
                )
            values[name] = value if value is not None else made(name)
        return cls(files=files, values=values)

    def all(self, *, roles: Iterable[str], people: Iterable[str]) -> dict[str, str]:
        """Every value by a name: with those made from others, and the tokens of people's own notebooks."""
        redis, postgres = self.values["redis-password"], self.values["postgres-password"]
        return {
            **self.values,
            **{name: redis_users.password(redis, user) for name, user in redis_users.SECRETS.items()},
            **{f"postgres-{role}": redis_users.password(postgres, role) for role in roles},
            GATEWAY_KEY: self.files.generated(GATEWAY_KEY).split()[0],
            **{notebook_token_file(person): self._notebook_token(person) for person in people},
        }

    def path(self, name: str, *, uid: int) -> str:
        """Path on this host of the file with the secret `name`, readable by `uid`."""
        return self.files.secret(name, self.values[name], uid=uid)

    def mount(self, name: str, *, user: str) -> Mount:
        """The secret `name` as a read-only file in ``/run/secrets`` for a container run as `user` (``uid:gid``)."""
        return self._mount(name, self.values[name], user)

    def notebook_token(self, person: str | None, *, user: str) -> Mount:
        """The mounted token of a person's own notebooks, or of everybody's, in the same place."""
        return self._mount(NOTEBOOK_TOKEN, self._notebook_token(person), user)

    def notebook_token_path(self, person: str | None, *, uid: int) -> str:
        """Path on this host of the file with that token, readable by `uid`."""
        return self.files.secret(NOTEBOOK_TOKEN, self._notebook_token(person), uid=uid)

    def gateway_key(self, *, user: str) -> Mount:
        """The mounted key of the secrets in MLflow's gateway, with former ones, a line each."""
        return self._mount(GATEWAY_KEY, self.files.generated(GATEWAY_KEY), user)

    def redis_user(self, name: str, *, user: str) -> Mount:
        """The mounted password of a Redis user with limited rights: ``redis-reader`` or ``redis-agent``."""
        return self._mount(name, redis_users.password(self.values["redis-password"], redis_users.SECRETS[name]), user)

    def postgres_role(self, name: str, *, user: str) -> Mount:
        """The mounted password of a Postgres role that is not the superuser."""
        return self._mount(f"postgres-{name}", redis_users.password(self.values["postgres-password"], name), user)

    def redis_conf(self, lines: str, *, user: str, replicated: bool, namespace: str) -> Mount:
        """Redis's whole configuration, with its users, the password it asks for, and the same for its primary."""
        # In double quotes Redis takes backslash escapes.
        quoted = self.values["redis-password"].replace("\\", "\\\\").replace('"', '\\"')
        keys = ("requirepass", "masterauth") if replicated else ("requirepass",)
        lines += "".join(f'{key} "{quoted}"\n' for key in keys)
        lines += redis_users.configuration(self.values["redis-password"], namespace)
        return self._mount(REDIS_CONF, lines, user)

    def document(self, name: str, content: str, *, user: str) -> Mount:
        """The mount of a configuration that holds secrets, for a program that reads them nowhere else."""
        return self._mount(name, content, user)

    def _notebook_token(self, person: str | None) -> str:
        return self.values[NOTEBOOK_TOKEN] if person is None else self.files.generated(notebook_token_file(person))

    def _mount(self, name: str, content: str, user: str) -> Mount:
        uid = user_id(user)
        return Mount(
            source=self.files.secret(name, content, uid=uid), target=f"{SECRETS_TARGET}/{name}", read_only=True
        )


def notebook_token_file(person: str) -> str:
    """The name of the generated secret that is the token of a person's own notebooks.

    It is of one host and never in the stack config, so that it is made and renewed with the person alone.
    """
    return f"{NOTEBOOK_TOKEN}-{person}"


def minimum_length(name: str) -> int:
    """The fewest characters that the services take for a secret."""
    return LONGER.get(name, MINIMUM_LENGTH)


def is_usable(value: str, name: str = "") -> bool:
    """Whether every service can use a value as a password or token, or those that use the secret `name`."""
    return len(value) >= minimum_length(name) and value.isascii() and value.isprintable() and " " not in value


def user_id(user: str) -> int:
    """The numeric user of a container's ``uid:gid``."""
    return int(user.partition(":")[0])
