"""Files of the platform's predecessor: every key of them is converted, or reported with a reason."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from config.load import load
from ws import cli
from ws.config.former import convert

FOLDER = Path("/srv/former")
CONFIG: dict[str, Any] = {
    "network": {"name": "ray-network", "subnet": "172.28.0.0/16"},
    "ray-cpu": {
        "enabled": True,
        "image": "cslr-exp-platform:ray-runtime",
        "build": {
            "enabled": True,
            "dockerfile": "Dockerfile",
            "args": {"CUDA_VERSION": "12.8.1", "PYTHON_VERSION": "3.13"},
        },
        "cpus": 4,
        "memory": "8GB",
        "head_port": 6379,
        "dashboard_port": 8265,
        "client_port": 10001,
        "environment": ["USE_CONDA_ENV=1", "HF_HUB_OFFLINE=1"],
        "volumes": ["./data:/datasets:ro"],
    },
    "ray_gpu": {"enabled": True, "memory": "16g", "client_port": 10002, "gpus": [0, 1]},
    "redis": {"port": 6381, "restart": "always"},
    "mlflow": {"ports": ["5001:5000"], "volumes": ["./mlruns:/mlflow/artifacts"]},
    "marimo": {"port": 8080, "notebooks": "/home/me/notebooks"},
    "grafana": {"enabled": True},
}
NODES = {
    "head_whitelist": ["ray-gpu", "192.168.1.10"],
    "head_address": "192.168.1.20",
    "health": {"url": "http://health:8080", "timeout": 2.0},
}


@pytest.fixture(scope="module")
def done():
    return convert(CONFIG, NODES, FOLDER)


class TestConverted:
    def test_settings_are_a_valid_stack(self, done):
        load(done.settings, stack_file="Pulumi.x.yaml")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("network.subnet", "172.28.0.0/16"),
            ("images", {"cuda": "12.8.1", "python": "3.13"}),
            ("ray.cpu.memory", "8g"),
            ("ray.cpu.ports", {"dashboard": 8265, "client": 10001}),
            ("ray.cpu.env", {"HF_HUB_OFFLINE": "1"}),
            ("ray.cpu.volumes", [{"source": "/srv/former/data", "target": "/datasets", "read_only": True}]),
            ("gpu", {"devices": [0, 1], "enabled": True}),
            ("redis.port", 6381),
            ("mlflow", {"port": 5001, "artifacts": "/srv/former/mlruns"}),
            ("marimo.notebooks", "/home/me/notebooks"),
            ("ray.head_whitelist", ["ray-gpu"]),
            ("ray.head_address", "192.168.1.20:6379"),
            ("ray.health_timeout", 2.0),
        ],
    )
    def test_a_key_has_its_value_under_its_name_here(self, done, key, value):
        found = done.settings
        for step in key.split("."):
            found = found[step]
        assert found == value

    def test_services_may_stand_below_a_key_of_their_own(self, done):
        assert convert({"services": CONFIG}, NODES, FOLDER).settings == done.settings

    def test_nodes_below_ray_are_the_same_nodes(self):
        below = convert({"ray": {"cpu": {"cpus": "1.5"}}}, None, FOLDER)
        assert below.settings == {"ray": {"cpu": {"cpus": 1.5}}}


class TestLost:
    @pytest.mark.parametrize(
        ("former", "why"),
        [
            ("ray-cpu.image", "the platform's own"),
            ("ray-cpu.build.dockerfile", "ws packages add"),
            ("ray-cpu.head_port", "ws set ray.cpu.ports.gcs 6379"),
            ("ray-cpu.environment.USE_CONDA_ENV", "found by itself"),
            ("redis.restart", "every container is restarted"),
            ("grafana", "nothing like it"),
            ("nodes.yaml: head_whitelist 192.168.1.10", "cluster.yaml"),
            ("nodes.yaml: health_url", "their own stack"),
        ],
    )
    def test_a_key_without_counterpart_has_a_reason(self, done, former, why):
        assert why in {finding.former: finding.why for finding in done.lost}[former]

    def test_no_key_is_dropped_in_silence(self, done):
        named = [finding.former for finding in done.findings]
        for section, values in CONFIG.items():
            for key in values if section != "grafana" else ():
                name = f"{section.replace('_', '-')}.{key}"
                assert any(one.startswith(name) for one in named), name

    @pytest.mark.parametrize("config", [None, [], "text", {"redis": 1}, {"network": 1}, {"ray-cpu": {"ports": "x"}}])
    def test_what_has_no_sense_is_reported_and_no_error(self, config):
        assert convert(config, {"health": 1}, FOLDER).lost


class TestCommand:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr("ws.config.importing.FOLDER", tmp_path)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
        (tmp_path / "nodes.yaml").write_text(yaml.safe_dump(NODES))
        return tmp_path

    def test_writes_a_stack_file_and_says_what_became_of_each_key(self, folder, capsys):
        assert cli.main(["import", str(folder / "config.yaml"), "-s", "lab"]) == 0
        written = yaml.safe_load((folder / "Pulumi.lab.yaml").read_text())
        assert written["config"]["cslr:platform"]["redis"] == {"port": 6381}
        said = capsys.readouterr().out
        assert "No counterpart:" in said
        assert "nodes.yaml: head_address" in said, "the file beside it is read"
        assert "MLflow asks for no login, as before. To turn logins on: ws set mlflow.logins true -s lab" in said

    def test_a_dry_run_writes_nothing(self, folder):
        assert cli.main(["import", str(folder / "config.yaml"), "-s", "lab", "--dry-run"]) == 0
        assert not (folder / "Pulumi.lab.yaml").exists()

    def test_no_stack_file_is_overwritten(self, folder, capsys):
        (folder / "Pulumi.lab.yaml").write_text("config: {}\n")
        assert cli.main(["import", str(folder / "config.yaml"), "-s", "lab"]) == 1
        assert "is there already" in capsys.readouterr().err

    def test_what_this_platform_refuses_is_said_with_the_key(self, folder, capsys):
        (folder / "config.yaml").write_text("redis: {port: 99999}\n")
        assert cli.main(["import", str(folder / "config.yaml"), "-s", "lab"]) == 1
        assert "Pulumi.lab.yaml: cslr:platform.redis.port" in capsys.readouterr().out

    def test_a_file_that_is_not_there_is_named(self, folder, capsys):
        assert cli.main(["import", str(folder / "nothing.yaml"), "-s", "lab"]) == 1
        assert "nothing.yaml" in capsys.readouterr().err
