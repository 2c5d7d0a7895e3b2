"""Alertmanager's configuration: where alerts go. It holds addresses and passwords, and is a secret as a whole."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from config.problems import Notice, Problem, SettingsError
from config.project import NAME
from config.remedies import secret_command
from config.services import AlertMailSettings, AlertmanagerSettings

SLACK, DISCORD, WEBHOOK, MAIL_PASSWORD = "slackWebhook", "discordWebhook", "alertWebhook", "mailPassword"
# Name, labels and remedy of each alert, for people. Alertmanager's own templates show neither summary nor remedy.
TITLE = '{{ if eq .Status "firing" }}{{ .Alerts.Firing | len }} firing{{ else }}resolved{{ end }}: '
TITLE += "{{ .GroupLabels.alertname }} ({{ .CommonLabels.stack }})"
TEXT = """\
{{ range .Alerts }}{{ if eq .Status "firing" }}{{ .Labels.severity }}{{ else }}resolved{{ end }}: \
{{ .Annotations.summary }}
{{ .Annotations.description }}
{{ if eq .Status "firing" }}Remedy: {{ .Annotations.remedy }}
{{ end }}{{ end }}"""
GROUP_SECONDS, GROUP_INTERVAL_SECONDS = 10, 60
RECEIVER = "people"


@dataclass(frozen=True, kw_only=True)
class AlertSecrets:
    """Addresses that alerts are posted to, and the password for mail. `repr` shows none."""

    slack: str | None = field(default=None, repr=False)
    discord: str | None = field(default=None, repr=False)
    webhook: str | None = field(default=None, repr=False)
    mail_password: str | None = field(default=None, repr=False)

    @classmethod
    def resolve(
        cls, mail: AlertMailSettings | None, configured: Callable[[str], str | None], *, stack: str, stack_file: str
    ) -> "AlertSecrets":
        """Those of the stack config.

        Raises:
            SettingsError: one is missing, or Alertmanager would not start with it.
        """
        for key in (SLACK, DISCORD, WEBHOOK):
            value = configured(key)
            if value is not None and not _is_address(value):
                raise _unusable(key, "is not an http or https address", "Set another:", stack, stack_file)
        password = configured(MAIL_PASSWORD)
        if mail and mail.user and not password:
            reason = "is not set, but metrics.alertmanager.mail.user logs in with it"
            raise _unusable(MAIL_PASSWORD, reason, "Set it:", stack, stack_file)
        return cls(
            slack=configured(SLACK), discord=configured(DISCORD), webhook=configured(WEBHOOK), mail_password=password
        )


def notices(settings: AlertmanagerSettings, secrets: AlertSecrets, stack: str) -> Iterator[Notice]:
    """Says so where alerts are sent nowhere."""
    if not any((secrets.slack, secrets.discord, secrets.webhook, settings.mail)):
        yield Notice(
            f"alerts are sent nowhere: only `ws alert list -s {stack}` and the home page show them. "
            "To send them to Slack, for example: "
            f"{secret_command(stack, f'{NAME}:{SLACK}')} (docs/metrics.md)"
        )


def _is_address(value: str) -> bool:
    try:
        url = urlsplit(value)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname)


def _unusable(key: str, reason: str, advice: str, stack: str, stack_file: str) -> SettingsError:
    """Never shows the value: whoever has it can post."""
    full = f"{NAME}:{key}"
    return SettingsError([Problem((), reason, advice, (secret_command(stack, full),))], stack_file, full)


def configuration(settings: AlertmanagerSettings, secrets: AlertSecrets, *, proxied: bool) -> str:
    """The configuration, in YAML. `proxied`: the container's environment names a proxy."""
    http = {"http_config": {"proxy_from_environment": True}} if proxied else {}
    found: dict[str, Any] = {
        "route": {
            "receiver": RECEIVER,
            "group_by": ["alertname"],
            "group_wait": f"{GROUP_SECONDS}s",
            "group_interval": f"{GROUP_INTERVAL_SECONDS}s",
            "repeat_interval": f"{settings.repeat_hours}h",
        },
        "receivers": [{"name": RECEIVER, **dict(_channels(settings, secrets, http))}],
    }
    return yaml.safe_dump(found, sort_keys=False)


def _channels(
    settings: AlertmanagerSettings, secrets: AlertSecrets, http: Mapping[str, Any]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    told = {"send_resolved": True}
    if secrets.slack:
        yield "slack_configs", [{"api_url": secrets.slack, "title": TITLE, "text": TEXT, **told, **http}]
    if secrets.discord:
        yield "discord_configs", [{"webhook_url": secrets.discord, "title": TITLE, "message": TEXT, **told, **http}]
    if secrets.webhook:
        yield "webhook_configs", [{"url": secrets.webhook, **told, **http}]
    if mail := settings.mail:
        login = {"auth_username": mail.user, "auth_password": secrets.mail_password} if mail.user else {}
        letter = {"headers": {"Subject": TITLE}, "html": "", "text": TEXT}
        yield (
            "email_configs",
            [{"to": ", ".join(mail.to), "from": mail.sender, "smarthost": mail.server, **login, **letter, **told}],
        )
