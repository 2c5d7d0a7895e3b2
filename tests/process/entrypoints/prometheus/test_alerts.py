"""Every alert fires on what it is about and on nothing else, as Prometheus' own tool says."""

import re
import subprocess
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from testing.harness import PROJECT
from ws.cli import app

RULES = PROJECT / "entrypoints" / "prometheus" / "alerts.yaml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
STACK = "dev"
DAY = 86400
COMMAND = re.compile(r"`ws ((?:[a-z]+ ?)+)")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series as promtool writes them, and the alerts that fire on them at a time."""

    series: dict[str, str]
    at: str = "3m"
    labels: dict[str, str] = field(default_factory=dict)  # of the alert, besides its severity
    value: str = "0"  # as the annotations show it
    quiet: bool = False  # no alert fires


HOST = {"host": "gpu1", "instance": "exporter:8080"}
ON_HOST = 'host="gpu1",instance="exporter:8080"'
# Alert → series on which it fires, and close ones on which it does not. An expansion such as `1x9` is ten samples.
QUICK: dict[str, list[Case]] = {
    "RayNodeGone": [
        Case(series={'cslr_ray_node_up{node="ray-gpu"}': "1 1 0x9"}, labels={"node": "ray-gpu"}),
        Case(series={'cslr_ray_node_up{node="ray-gpu"}': "1 0 1x9"}, quiet=True),
    ],
    "HostGone": [
        Case(series={'cslr_host_up{member="beta"}': "0x9"}, labels={"member": "beta"}),
        Case(
            series={'cslr_host_up{member="beta"}': "0x9", 'cslr_host_in_maintenance{member="beta"}': "1x9"}, quiet=True
        ),
    ],
    "NoHead": [Case(series={"cslr_ray_head_up": "0x9"}), Case(series={"cslr_ray_head_up": "1x9"}, quiet=True)],
    "HeadMoved": [
        Case(series={"cslr_head_epoch": "4 4 5x9"}, value="1"),
        Case(series={"cslr_head_epoch": "_ _ 4x9"}, quiet=True),  # the first head of a new stack
        Case(series={"cslr_head_epoch": "4 5x50"}, at="15m", quiet=True),
    ],
    "GpuLost": [
        Case(series={f'cslr_gpu_up{{UUID="GPU-1",{ON_HOST}}}': "1 0x9"}, labels={"UUID": "GPU-1", **HOST}),
    ],
    "GpuMissing": [
        Case(
            series={
                f"cslr_gpu_expected{{{ON_HOST}}}": "2x9",
                f'cslr_gpu_up{{UUID="GPU-1",{ON_HOST}}}': "1x9",
            },
            labels=HOST,
            value="2",
        ),
        Case(series={f"cslr_gpu_expected{{{ON_HOST}}}": "2x9"}, labels=HOST, value="2"),
        Case(
            series={f"cslr_gpu_expected{{{ON_HOST}}}": "1x9", f'cslr_gpu_up{{UUID="GPU-1",{ON_HOST}}}': "1x9"},
            quiet=True,
        ),
    ],
    "GpuXid": [
        Case(
            series={f'cslr_gpu_xid_last_timestamp_seconds{{UUID="GPU-1",xid="79",{ON_HOST}}}': "60x9"},
            labels={"UUID": "GPU-1", "xid": "79", **HOST},
        ),
        # A program's own fault, and one of long ago.
        Case(series={'cslr_gpu_xid_last_timestamp_seconds{UUID="GPU-1",xid="31"}': "60x9"}, quiet=True),
        Case(series={'cslr_gpu_xid_last_timestamp_seconds{UUID="GPU-1",xid="79"}': "0x40"}, at="8m", quiet=True),
    ],
    "GpuHot": [
        Case(
            series={'DCGM_FI_DEV_GPU_TEMP{gpu="0",host="gpu1"}': "91x20"},
            at="6m",
            labels={"gpu": "0", "host": "gpu1"},
            value="91",
        ),
        Case(series={'DCGM_FI_DEV_GPU_TEMP{gpu="0",host="gpu1"}': "91x4 80x20"}, at="6m", quiet=True),
    ],
    "GpuThrottled": [
        Case(
            series={'cslr_gpu_throttled{UUID="GPU-1",host="gpu1",reason="thermal"}': "1x20"},
            at="6m",
            labels={"UUID": "GPU-1", "host": "gpu1", "reason": "thermal"},
        ),
        Case(series={'cslr_gpu_throttled{UUID="GPU-1",host="gpu1",reason="power"}': "1x20"}, at="6m", quiet=True),
    ],
    "DiskLow": [
        Case(
            series={'cslr_disk_free_bytes{disk="scratch",host="a"}': "9e9x9"},
            labels={"disk": "scratch", "host": "a"},
            value="9G",
        ),
        # Of another host, by its exporter; of a host whose health service says it too, once.
        Case(
            series={
                'cslr_disk_free_bytes{disk="scratch",host="a"}': "5e10x9",
                'node_filesystem_avail_bytes{mountpoint="/scratch",host="a"}': "9e9x9",
                'node_filesystem_avail_bytes{mountpoint="/scratch",host="b"}': "9e9x9",
            },
            labels={"mountpoint": "/scratch", "host": "b"},
            value="9G",
        ),
    ],
    "MemoryPressure": [
        Case(
            series={
                'container_memory_working_set_bytes{service="ray-cpu",host="a"}': "97x20",
                'container_spec_memory_limit_bytes{service="ray-cpu",host="a"}': "100x20",
            },
            labels={"service": "ray-cpu", "host": "a"},
            value="97%",
        ),
        Case(
            series={
                'container_memory_working_set_bytes{service="ray-cpu",host="a"}': "97x20",
                'container_spec_memory_limit_bytes{service="ray-cpu",host="a"}': "0x20",  # without a limit
            },
            quiet=True,
        ),
    ],
    "HostMemoryLow": [
        Case(
            series={
                'node_memory_MemAvailable_bytes{host="a"}': "4x20",
                'node_memory_MemTotal_bytes{host="a"}': "100x20",
            },
            labels={"host": "a"},
            value="4%",
        ),
    ],
    "LimitNear": [
        Case(
            series={
                'cslr_service_used_bytes{service="redis",resource="memory"}': "90x20",
                'cslr_service_limit_bytes{service="redis",resource="memory"}': "100x20",
            },
            labels={"service": "redis", "resource": "memory"},
            value="90%",
        ),
    ],
    "ContainerRestarting": [
        Case(
            series={'container_start_time_seconds{service="ray-cpu",host="a"}': "10 20 30x9"},
            labels={"service": "ray-cpu", "host": "a"},
            value="2",
        ),
        Case(series={'container_start_time_seconds{service="ray-cpu",host="a"}': "10 20x9"}, quiet=True),  # an update
    ],
    "ServiceDown": [
        Case(
            series={'cslr_service_up{service="mlflow",kind="mlflow"}': "0x9"},
            labels={"service": "mlflow", "kind": "mlflow"},
        ),
        Case(series={'cslr_service_up{service="ray-cpu",kind="ray"}': "0x9"}, quiet=True),
    ],
    "TargetDown": [
        Case(
            series={'up{job="health",instance="health:8888"}': "1 0x9"},
            labels={"job": "health", "instance": "health:8888"},
        ),
    ],
    "AlertsNotDelivered": [
        Case(
            series={'alertmanager_notifications_failed_total{integration="slack"}': "0 0 2x20"},
            at="10m",
            labels={"integration": "slack"},
            value="2",
        ),
    ],
    "VerificationFailed": [
        Case(series={'cslr_verification_checks{result="fail"}': "2x9"}, labels={"result": "fail"}, value="2"),
        Case(series={'cslr_verification_checks{result="pass"}': "13x9"}, quiet=True),
    ],
    "BuildFailed": [
        Case(
            series={
                'cslr_build_succeeded{image="health"}': "0x9",
                'cslr_build_timestamp_seconds{image="health"}': "0x9",
            },
            labels={"image": "health"},
        ),
    ],
}
# Those of days are evaluated once an hour.
SLOW: dict[str, list[Case]] = {
    "BaseImageOld": [
        Case(
            series={'cslr_base_image_timestamp_seconds{image="trixie"}': "0x800"},
            at="31d",
            labels={"image": "trixie"},
            value="31d 0h 0m 0s",
        ),
        Case(series={'cslr_base_image_timestamp_seconds{image="trixie"}': "0x800"}, at="29d", quiet=True),
    ],
    "BackupOld": [
        Case(
            series={'cslr_backup_timestamp_seconds{backup="nightly"}': "0x100"},
            at="3d",
            labels={"backup": "nightly"},
            value="3d 0h 0m 0s",
        ),
        Case(series={'cslr_backup_timestamp_seconds{backup="nightly"}': f"0x30 {DAY}x70"}, at="2d", quiet=True),
    ],
    "CertificateExpiring": [
        Case(
            series={'cslr_certificate_expiry_timestamp_seconds{certificate="web"}': f"{20 * DAY}x300"},
            at="8d",
            labels={"certificate": "web"},
            value="12d 0h 0m 0s",
        ),
        Case(
            series={'cslr_certificate_expiry_timestamp_seconds{certificate="web"}': f"{20 * DAY}x300"},
            at="5d",
            quiet=True,
        ),
    ],
    "BuildFailed": [
        Case(
            series={
                'cslr_build_succeeded{image="health"}': "0x200",
                'cslr_build_timestamp_seconds{image="health"}': "0x200",
            },
            at="8d",
            quiet=True,
        ),
    ],
}


def shown(text: str, case: Case) -> str:
    """An annotation as Prometheus fills it in."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("$labels."):
            return case.labels[name.removeprefix("$labels.")]
        return STACK if name == "$externalLabels.stack" else case.value

    return re.sub(r"\{\{ (.+?) \}\}", value, text)


def unit_test(alert: str, case: Case, interval: str) -> dict[str, Any]:
    """A case in promtool's form."""
    rule = ALERTS[alert]
    expected = (
        []
        if case.quiet
        else [
            {
                "exp_labels": {**rule["labels"], **case.labels},
                "exp_annotations": {name: shown(text, case) for name, text in rule["annotations"].items()},
            }
        ]
    )
    return {
        "name": f"{alert} {case.series}",
        "interval": interval,
        "external_labels": {"stack": STACK},
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": alert, "exp_alerts": expected}],
    }


@pytest.mark.parametrize(("cases", "interval"), [(QUICK, "20s"), (SLOW, "1h")], ids=["minutes", "days"])
def test_alerts_fire_on_what_they_are_about(promtool, tmp_path, cases, interval):
    tests = [unit_test(alert, case, interval) for alert, several in cases.items() for case in several]
    content = {"rule_files": [str(RULES)], "evaluation_interval": interval, "tests": tests}
    file = tmp_path / "alerts.test.yaml"
    file.write_text(yaml.safe_dump(content))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires():
    tested = {name for cases in (QUICK, SLOW) for name, several in cases.items() if any(not c.quiet for c in several)}
    assert tested == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_says_how_bad_it_is_and_what_to_do(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "remedy"}
    assert "`" in rule["annotations"]["remedy"]


def test_remedies_name_commands_that_there_are():
    commands = {
        words.split()[0] if words.split()[0] not in ("head", "node", "mlflow") else " ".join(words.split()[:2])
        for rule in ALERTS.values()
        for words in COMMAND.findall(rule["annotations"]["remedy"])
    }
    for command in commands:
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command
