"""The keys of stack config that this project knows; all others are refused.

Pulumi gives a program the keys that it asks for and ignores the rest: a misspelt ``cslr:platform`` would deploy a host
with only defaults, and a misspelt ``cslr:cluster`` a host outside its cluster.
"""

from collections.abc import Iterable

from config.problems import Problem, SettingsError, closest
from config.project import NAME
from config.remedies import secret_command, unset_command

# Optional secrets of a stack, encrypted by `pulumi config set --secret`.
SECRETS = {
    "cslr:redisPassword": "Password of Redis, shared by all hosts of a cluster.",
    "cslr:postgresPassword": "Password of Postgres.",
    "cslr:rayToken": "Token of the Ray cluster, shared by all its hosts and users.",
    "cslr:rayAuthority": "What the authority of Ray's certificates (`ray.tls`) is made from: 32 characters or more.",
    "cslr:marimoToken": "Token that opens the notebooks.",
    "cslr:transcriptionToken": "Token of the transcription service.",
    "cslr:grafanaPassword": "Password of Grafana's user `admin`.",
    "cslr:grafanaSecretKey": "Key with which Grafana encrypts secrets in its database.",
    "cslr:mlflowAdminPassword": "Password of MLflow's account `admin`, with `mlflow.logins`.",
    "cslr:mlflowPassword": "Password of the account in MLflow that tasks, notebooks and services use.",
}
CLUSTER_KEY_SECRET = {
    "cslr:clusterKey": "Cluster key, the same on all hosts. The other secrets are derived from it.",
}
# Values of the variables that `env_secrets` of services name.
ENV_SECRETS = "cslr:envSecrets"
ENV_SECRETS_TEXT = "Name → value of each variable that a service's `env_secrets` names."
WEBHOOKS = {
    "cslr:slackWebhook": "Slack's incoming webhook.",
    "cslr:discordWebhook": "Discord's webhook.",
}
# Where a stack with metrics sends its alerts, besides WEBHOOKS.
ALERT_SECRETS = {
    "cslr:alertWebhook": "Address to which alerts are posted, as Alertmanager's JSON.",
    "cslr:mailPassword": "Password of `metrics.alertmanager.mail.user`.",
}
# All keys with one secret text each. Values of ENV_SECRETS are secret too, one for each variable.
SECRET_TEXTS = (*SECRETS, *CLUSTER_KEY_SECRET, *WEBHOOKS, *ALERT_SECRETS)
PREFLIGHT_KEY = "cslr:preflight"
HOST_ALONE = "host"  # its value that leaves out whose the stack's objects are
PREFLIGHT = {
    "cslr:preflight": "`false` skips all checks of the host: for a preview on a machine that is not the stack's host. "
    "`host` skips only the check of the stack's owner: for a preview of a change to the other engine.",
}
OBJECTS = ("cslr:platform", "cslr:matrix", "cslr:cluster")
KNOWN = (*OBJECTS, "cslr:host", *PREFLIGHT, *SECRETS, *CLUSTER_KEY_SECRET, ENV_SECRETS, *WEBHOOKS, *ALERT_SECRETS)


def check(keys: Iterable[str], *, stack_file: str) -> None:
    """Passes if this project knows all of its own full keys; keys of providers are not checked.

    Raises:
        SettingsError: a key is misspelt, in its name or in its project.
    """
    strange = sorted(key for key in keys if key not in KNOWN and _is_meant_for_us(key))
    if not strange:
        return
    reason = "unknown key" if len(strange) == 1 else "unknown keys"
    guesses = {key: closest(key.partition(":")[2], [known.partition(":")[2] for known in KNOWN]) for key in strange}
    advice = "\n".join(
        f"Did you mean {NAME}:{guess}? Rename {key} in the file."
        if guess
        else f"Remove {key}; known here: {', '.join(KNOWN)}."
        for key, guess in guesses.items()
    )
    raise SettingsError([Problem((), reason, advice)], stack_file, ", ".join(strange))


def refuse_encrypted(keys: Iterable[str], *, stack_file: str, stack: str, encrypted: Iterable[str] = ()) -> None:
    """Passes unless one of `keys`, which hold a secret value somewhere, is an object of settings.

    What is in settings goes into containers' environments and Pulumi's state in clear; a preview alone would hide it.
    `encrypted` are the paths, where they are known.

    Raises:
        SettingsError: one is.
    """
    objects = sorted(set(keys) & set(OBJECTS))
    if not objects:
        return
    found = [path for path in encrypted if path.startswith(tuple(objects))]
    problem = Problem(
        (),
        "has an encrypted value, which would be in Pulumi's state and in `docker inspect` in clear",
        "Settings are not secrets. For a secret environment variable, name it in env_secrets of the service, and set:",
        (secret_command(stack, f"{ENV_SECRETS}.HF_TOKEN"), *(unset_command(stack, path) for path in found)),
    )
    raise SettingsError([problem], stack_file, ", ".join(found or objects))


def _is_meant_for_us(key: str) -> bool:
    project, _, name = key.partition(":")
    return project == NAME or (f"{NAME}:{name}" in KNOWN and bool(closest(project, [NAME])))
