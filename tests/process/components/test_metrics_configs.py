"""Configurations of Prometheus and Alertmanager, as their own tools judge them."""

import subprocess
from pathlib import Path

import pytest

from components import alert_routes, scrape_config
from components.alert_routes import AlertSecrets
from config.services import AlertMailSettings, AlertmanagerSettings
from testing.harness import PROJECT

MAIL = AlertMailSettings(server="smtp.example.org:587", sender="cslr@example.org", to=("group@example.org",))
ALL = AlertSecrets(
    slack="https://hooks.slack.example.org/services/T0/B0/1",
    discord="https://discord.example.org/api/webhooks/1/2",
    webhook="http://192.168.1.5:9000/alerts",
    mail_password="a password",
)


def judged(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Debian 12's Alertmanager, which may be this host's, does not know the setting for a proxy; the image's does.
@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        (AlertmanagerSettings(), AlertSecrets()),
        (AlertmanagerSettings(mail=MAIL), ALL),
        (AlertmanagerSettings(mail=MAIL.model_copy(update={"user": "cslr"})), ALL),
    ],
    ids=["nowhere", "everywhere", "mail with a login"],
)
def test_alertmanager_accepts_its_configuration(amtool, tmp_path, settings, secrets):
    file = tmp_path / "alertmanager.yaml"
    file.write_text(alert_routes.configuration(settings, secrets, proxied=False))
    judged(amtool, "check-config", file)


@pytest.mark.parametrize("interval", [1, 15, 60])
def test_prometheus_accepts_its_configuration(promtool, tmp_path, interval):
    file = tmp_path / "prometheus.yaml"
    scraping = scrape_config.Scraping(
        stack="dev",
        host="gpu1",
        interval=interval,
        services=("prometheus", "alertmanager", "health", "exporter"),
        rules=(str(PROJECT / "entrypoints" / "prometheus" / "alerts.yaml"),),
    )
    file.write_text(scrape_config.configuration(scraping))
    judged(promtool, "check", "config", file)
