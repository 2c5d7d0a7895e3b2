"""Grafana's configuration, as its documentation says that it is read."""

import configparser

import yaml

from components import grafana_files


def read(text: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read_string(text)
    return found


class TestSettings:
    def test_ask_for_the_password_in_its_file(self):
        text = grafana_files.settings("http://127.0.0.1:3000")
        assert read(text)["security"]["admin_password"] == "$__file{/run/secrets/grafana-password}"

    def test_key_of_its_database_is_no_published_one(self):
        text = grafana_files.settings("http://127.0.0.1:3000")
        assert read(text)["security"]["secret_key"] == "$__file{/run/secrets/grafana-secret-key}"

    def test_let_nobody_look_without_a_login(self):
        found = read(grafana_files.settings("http://127.0.0.1:3000"))
        assert found["auth.anonymous"]["enabled"] == "false"
        assert found["users"]["allow_sign_up"] == "false"

    def test_ask_no_other_host(self):
        found = read(grafana_files.settings("http://127.0.0.1:3000"))
        assert set(found["analytics"].values()) == {"false"}
        assert found["news"]["news_feed_enabled"] == "false"
        assert found["plugins"]["preinstall_disabled"] == "true"

    def test_name_the_address_that_people_open(self):
        assert read(grafana_files.settings("http://10.0.0.5:3001"))["server"]["root_url"] == "http://10.0.0.5:3001"


class TestProvisioning:
    def test_source_is_the_stacks_prometheus_and_cannot_be_edited(self):
        found = yaml.safe_load(grafana_files.sources(interval=5))
        assert found["apiVersion"] == 1
        (source,) = found["datasources"]
        assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
        assert (source["isDefault"], source["editable"], source["access"]) == (True, False, "proxy")
        assert source["jsonData"]["timeInterval"] == "5s"

    def test_dashboards_are_read_from_the_folder_that_ray_writes(self):
        found = yaml.safe_load(grafana_files.dashboards())
        assert found["apiVersion"] == 1
        (provider,) = found["providers"]
        assert (provider["type"], provider["options"]) == ("file", {"path": "/run/dashboards"})
        assert (provider["allowUiUpdates"], provider["disableDeletion"]) == (False, True)


class TestPaths:
    def test_of_the_image_are_replaced(self):
        names = {"DATA", "LOGS", "PLUGINS", "PROVISIONING"}  # those that Grafana's image sets, besides its own folder
        assert set(grafana_files.PATHS) == {f"GF_PATHS_{name}" for name in names}


class TestPanels:
    def test_ray_writes_to_that_folder_and_names_the_same_source(self):
        found = grafana_files.panels(
            "http://127.0.0.1:3001", "/host/dashboards", grafana="grafana:3000", prometheus="prometheus:9090"
        )
        assert found.environment["RAY_GRAFANA_IFRAME_HOST"] == "http://127.0.0.1:3001"
        assert found.environment["RAY_GRAFANA_HOST"] == "http://grafana:3000"
        assert found.environment["RAY_PROMETHEUS_HOST"] == "http://prometheus:9090"
        assert (
            found.environment["RAY_PROMETHEUS_NAME"]
            == yaml.safe_load(grafana_files.sources(15))["datasources"][0]["name"]
        )
        (mount,) = found.mounts
        assert (mount.source, mount.target) == ("/host/dashboards", "/run/dashboards")
        assert found.environment["RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR"] == mount.target
