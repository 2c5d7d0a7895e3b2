"""Where alerts go, as Alertmanager's configuration says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.alert_routes import AlertSecrets, configuration, notices
from config.problems import SettingsError
from config.services import AlertMailSettings, AlertmanagerSettings
from testing.harness import deploy

SLACK = "https://hooks.slack.example.org/services/T0/B0/secret-of-slack"
ALL = AlertSecrets(
    slack=SLACK,
    discord="https://discord.example.org/api/webhooks/1/secret-of-discord",
    webhook="http://192.168.1.5:9000/alerts",
    mail_password="secret-of-mail",
)
MAIL = AlertMailSettings(
    server="smtp.example.org:587", sender="cslr@example.org", to=("a@example.org", "b@example.org"), user="cslr"
)
METRICS = {"metrics": {"enabled": True}}


NOWHERE, USUAL = AlertSecrets(), AlertmanagerSettings()


def receiver(
    settings: AlertmanagerSettings = USUAL, secrets: AlertSecrets = NOWHERE, *, proxied: bool = False
) -> dict[str, Any]:
    found = yaml.safe_load(configuration(settings, secrets, proxied=proxied))
    only: dict[str, Any]
    (only,) = found["receivers"]
    assert found["route"]["receiver"] == only["name"]
    return only


class TestConfiguration:
    def test_alerts_stay_here_unless_the_stack_says_where_they_go(self):
        assert set(receiver()) == {"name"}

    def test_goes_to_all_that_are_set(self):
        found = receiver(AlertmanagerSettings(mail=MAIL), ALL)
        assert set(found) == {"name", "slack_configs", "discord_configs", "webhook_configs", "email_configs"}
        (mail,) = found["email_configs"]
        assert (mail["to"], mail["smarthost"]) == ("a@example.org, b@example.org", "smtp.example.org:587")
        assert (mail["auth_username"], mail["auth_password"]) == ("cslr", "secret-of-mail")

    def test_people_are_told_when_it_is_over(self):
        found = receiver(AlertmanagerSettings(mail=MAIL), ALL)
        assert all(several[0]["send_resolved"] for name, several in found.items() if name != "name")

    def test_messages_have_the_remedy(self):
        found = receiver(AlertmanagerSettings(mail=MAIL), ALL)
        texts = (found["slack_configs"][0]["text"], found["discord_configs"][0]["message"])
        assert all("Annotations.remedy" in text for text in (*texts, found["email_configs"][0]["text"]))

    def test_proxy_is_used_where_there_is_one(self):
        assert "http_config" not in receiver(secrets=ALL)["slack_configs"][0]
        proxied = receiver(secrets=ALL, proxied=True)["slack_configs"][0]
        assert proxied["http_config"] == {"proxy_from_environment": True}

    def test_repr_shows_no_secret(self):
        assert "secret" not in repr(ALL)


class TestSecrets:
    def resolve(self, mail: AlertMailSettings | None = None, **values: str) -> AlertSecrets:
        return AlertSecrets.resolve(mail, values.get, stack="dev", stack_file="Pulumi.dev.yaml")

    @pytest.mark.parametrize("key", ["slackWebhook", "discordWebhook", "alertWebhook"])
    def test_an_address_that_is_none_is_refused_without_showing_it(self, key):
        with pytest.raises(SettingsError) as refused:
            self.resolve(None, **{key: "hooks.slack.com/secret"})
        assert f"cslr:{key}" in str(refused.value)
        assert f"ws set {key} -s dev" in str(refused.value)
        assert "hooks.slack.com" not in str(refused.value)

    def test_a_login_for_mail_needs_its_password(self):
        with pytest.raises(SettingsError) as refused:
            self.resolve(MAIL)
        assert "ws set mailPassword -s dev" in str(refused.value)
        assert self.resolve(MAIL, mailPassword="secret").mail_password == "secret"


class TestNotices:
    @pytest.mark.parametrize(
        ("settings", "secrets", "said"),
        [(USUAL, NOWHERE, True), (USUAL, ALL, False), (AlertmanagerSettings(mail=MAIL), NOWHERE, False)],
        ids=["nowhere", "webhooks", "mail"],
    )
    def test_say_that_nobody_is_told(self, settings, secrets, said):
        found = [notice.text for notice in notices(settings, secrets, "gpu")]
        assert bool(found) == said
        assert all("ws set slackWebhook -s gpu" in text for text in found)


class TestStack:
    def test_addresses_are_in_a_secret_file_and_nowhere_else(self, tmp_path):
        deployed = deploy(METRICS, state_home=tmp_path, secrets={"slackWebhook": SLACK})
        inputs = deployed.containers["alertmanager"].inputs
        assert "secret-of-slack" not in str(inputs)
        mount = deployed.containers["alertmanager"].mounts["/run/secrets/alertmanager.yaml"]
        assert mount["readOnly"]
        assert SLACK in Path(mount["source"]).read_text()

    def test_a_stack_behind_a_proxy_sends_through_it(self, tmp_path):
        settings = {**METRICS, "network": {"proxy": "http://proxy.example.org:3128"}}
        container = deploy(settings, state_home=tmp_path, secrets={"slackWebhook": SLACK}).containers["alertmanager"]
        assert container.env["https_proxy"] == "http://proxy.example.org:3128"
        source = container.mounts["/run/secrets/alertmanager.yaml"]["source"]
        assert "proxy_from_environment: true" in Path(source).read_text()

    def test_one_without_alertmanager_does_not_judge_addresses(self, tmp_path):
        """Those of a stack that only builds are for its report."""
        assert deploy({}, state_home=tmp_path, secrets={"slackWebhook": "anything"}).containers
