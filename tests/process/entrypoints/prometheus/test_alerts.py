"""Every alert fires on what it is about and on nothing else, as Prometheus' own tool says."""

import re
import subprocess
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from entrypoints.hooks.package_hooks import FULL
from testing.harness import PROJECT
from ws.cli import app

RULES = PROJECT / "entrypoints" / "prometheus" / "alerts.yaml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
STACK = "dev"
DAY = 86400
OF_NO_STACK = ("matrix", "report")
COMMAND = re.compile(r"`ws ((?:[a-z]+ ?)+)")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series as promtool writes them, and the alerts that fire on them at a time."""

    series: dict[str, str]
    at: str = "3m"
    labels: dict[str, str] = field(default_factory=dict)  # of the alert, besides its severity
    value: str = "0"  # as the annotations show it
    said: dict[str, str] = field(default_factory=dict)  # annotations that depend on more than labels and the value
    quiet: bool = False  # no alert fires


def of_health(series: dict[str, str], host: str = "gpu1") -> dict[str, str]:
    """Series as Prometheus gets them from the health service of a host."""
    target = f'job="health",instance="{host}:8888",host="{host}"'
    return {f"{name.rstrip('}')}{',' if '{' in name else '{'}{target}}}": values for name, values in series.items()}


def use(service: str, resource: str, percent: str) -> dict[str, str]:
    """What a service uses of a limit of 100."""
    labels = f'{{service="{service}",resource="{resource}"}}'
    return of_health({f"cslr_service_used_bytes{labels}": percent, f"cslr_service_limit_bytes{labels}": "100x30"})


AT = {"host": "gpu1"}
HOST = {"host": "gpu1", "instance": "exporter:8080"}
ON_HOST = 'host="gpu1",instance="exporter:8080"'
# Alert → series on which it fires, and close ones on which it does not. An expansion such as `1x9` is ten samples.
HEAD_CHANGED = (
    "The head changed {} in 10 minutes, to another node or to the same one started anew. Actors on other nodes go on; "
    "drivers beside the former head may have ended."
)
QUICK: dict[str, list[Case]] = {
    "HealthDown": [
        Case(
            series={'up{job="health",instance="health:8888",host="gpu1"}': "1 0x9"},
            labels={"job": "health", "instance": "health:8888", "service": "health", **AT},
        ),
        Case(series={'up{job="redis-exporter",instance="redis-exporter:9121"}': "1 0x9"}, quiet=True),
    ],
    "RayNodeGone": [
        Case(series=of_health({'cslr_ray_node_up{node="ray-gpu"}': "1 1 0x9"}), labels={"node": "ray-gpu", **AT}),
        Case(series=of_health({'cslr_ray_node_up{node="ray-gpu"}': "1 0 1x9"}), quiet=True),
        # The health service ends: the node is as it was, gone or not, for as long as that lasts.
        Case(
            series=of_health({'cslr_ray_node_up{node="ray-gpu"}': "0x9 stale", "up": "1x9 0x60"}),
            at="20m",
            labels={"node": "ray-gpu", **AT},
        ),
        Case(
            series=of_health({'cslr_ray_node_up{node="ray-gpu"}': "1x9 stale", "up": "1x9 0x60"}), at="20m", quiet=True
        ),
        # It answers, and no longer knows the node: the stack has no such node any more.
        Case(series=of_health({'cslr_ray_node_up{node="ray-gpu"}': "0x9 stale", "up": "1x60"}), at="20m", quiet=True),
    ],
    "HostGone": [
        Case(
            series={
                **of_health({'cslr_host_up{member="gamma"}': "0x9"}),
                **of_health({'cslr_host_up{member="gamma"}': "0x9"}, "beta"),
            },
            labels={"member": "gamma"},
        ),
        Case(
            series=of_health({'cslr_host_up{member="beta"}': "0x9", 'cslr_host_in_maintenance{member="beta"}': "1x9"}),
            quiet=True,
        ),
        # This host alone is cut off.
        Case(
            series={
                **of_health({'cslr_host_up{member="gamma"}': "0x9"}),
                **of_health({'cslr_host_up{member="gamma"}': "1x9"}, "beta"),
            },
            quiet=True,
        ),
    ],
    "NoHead": [
        Case(series=of_health({"cslr_ray_head_up": "0x9"})),
        Case(series=of_health({"cslr_ray_head_up": "1x9"}), quiet=True),
    ],
    "HeadMoved": [
        Case(
            series={
                **of_health({"cslr_head_epoch": "4 4 5x9", 'cslr_ray_head_info{node="ray-cpu"}': "1x20"}),
                **of_health({"cslr_head_epoch": "4 4 5x9", 'cslr_ray_head_info{node="ray-cpu"}': "1x20"}, "beta"),
            },
            labels={"node": "ray-cpu"},
            said={"description": HEAD_CHANGED.format("once")},
        ),
        Case(
            series=of_health({"cslr_head_epoch": "4 5 6x9", 'cslr_ray_head_info{node="ray-cpu"}': "1x20"}),
            labels={"node": "ray-cpu"},
            said={"description": HEAD_CHANGED.format("2 times")},
        ),
        # The first head of a new stack, and one of long ago.
        Case(
            series=of_health({"cslr_head_epoch": "_ _ 4x9", 'cslr_ray_head_info{node="ray-cpu"}': "1x20"}), quiet=True
        ),
        Case(
            series=of_health({"cslr_head_epoch": "4 5x50", 'cslr_ray_head_info{node="ray-cpu"}': "1x51"}),
            at="15m",
            quiet=True,
        ),
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
            said={"description": "The stack expects 2 GPUs."},
        ),
        Case(
            series={f"cslr_gpu_expected{{{ON_HOST}}}": "1x9"},
            labels=HOST,
            said={"description": "The stack expects 1 GPU."},
        ),
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
            series=of_health({'cslr_disk_free_bytes{disk="scratch"}': "9e9x9"}),
            labels={"disk": "scratch", **AT},
            value="9G",
        ),
        # Of another host, by its exporter; of a host whose health service says it too, once.
        Case(
            series={
                **of_health({'cslr_disk_free_bytes{disk="scratch"}': "5e10x9"}),
                'node_filesystem_avail_bytes{mountpoint="/scratch",host="gpu1"}': "9e9x9",
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
    "RedisFull": [
        Case(
            series=use("redis", "memory", "10 10 81x9"),
            at="40s",  # as soon as it is seen
            labels={"service": "redis", "resource": "memory", **AT},
            value="81%",
        ),
        Case(series=use("redis", "memory", "79x9"), quiet=True),
        Case(series=use("ray-cpu", "scratch", "95x9"), quiet=True),
    ],
    "LimitNear": [
        Case(
            series=use("redis", "memory", "10 10 71x9"),
            at="40s",
            labels={"service": "redis", "resource": "memory", **AT},
            value="71%",
        ),
        Case(
            series=use("ray-cpu", "scratch", "90x20"),
            labels={"service": "ray-cpu", "resource": "scratch", **AT},
            value="90%",
        ),
        Case(series=use("redis", "memory", "69x9"), quiet=True),
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
            series=of_health({'cslr_service_up{service="mlflow",kind="mlflow"}': "0x9"}),
            labels={"service": "mlflow", "kind": "mlflow", **AT},
        ),
        Case(series=of_health({'cslr_service_up{service="ray-cpu",kind="ray"}': "0x9"}), quiet=True),
    ],
    "TargetDown": [
        Case(
            series={'up{job="exporter",instance="exporter:8080"}': "1 0x9"},
            labels={"job": "exporter", "instance": "exporter:8080", "service": "exporter"},
            said={"summary": "Prometheus gets no figures of exporter (exporter:8080)"},
        ),
        Case(
            series={'up{job="ray",node="ray-gpu",instance="10.0.0.3:11005"}': "1 0x9"},
            labels={"job": "ray", "node": "ray-gpu", "instance": "10.0.0.3:11005", "service": "ray-gpu"},
            said={"summary": "Prometheus gets no figures of ray-gpu (10.0.0.3:11005)"},
        ),
        Case(series={'up{job="health",instance="health:8888"}': "1 0x9"}, quiet=True),
    ],
    "AlertsNotDelivered": [
        Case(
            series={'alertmanager_notifications_failed_total{integration="slack"}': "0 0 2x20"},
            at="10m",
            labels={"integration": "slack"},
            said={"description": "Attempts that failed in 10 minutes: 2."},
        ),
    ],
    "VerificationFailed": [
        Case(
            series=of_health({'cslr_verification_checks{result="fail"}': "2x9"}),
            labels=AT,
            said={"summary": "2 checks of the last verification failed"},
        ),
        Case(
            series=of_health({'cslr_verification_checks{result="fail"}': "1x9"}),
            labels=AT,
            said={"summary": "1 check of the last verification failed"},
        ),
        Case(series=of_health({'cslr_verification_checks{result="pass"}': "13x9"}), quiet=True),
    ],
    "BuildFailed": [
        Case(
            series=of_health(
                {
                    'cslr_build_succeeded{image="health"}': "0x9",
                    'cslr_build_timestamp_seconds{image="health"}': "0x9",
                }
            ),
            labels={"image": "health", **AT},
        ),
    ],
    "FactUnreadable": [
        Case(
            series=of_health({'cslr_fact_unreadable{fact="backup"}': "1x30"}),
            at="6m",
            labels={"fact": "backup", **AT},
        ),
    ],
}
EXPIRY = of_health({'cslr_certificate_expiry_timestamp_seconds{certificate="web"}': f"{20 * DAY}x600"})
WEB = {"certificate": "web", **AT}
# Those of days are evaluated once an hour.
SLOW: dict[str, list[Case]] = {
    "BaseImageOld": [
        Case(
            series=of_health({'cslr_base_image_timestamp_seconds{image="trixie"}': "0x800"}),
            at="31d",
            labels={"image": "trixie", **AT},
            said={"summary": "Base image trixie is 31d 0h old"},
        ),
        Case(series=of_health({'cslr_base_image_timestamp_seconds{image="trixie"}': "0x800"}), at="29d", quiet=True),
    ],
    "BackupOld": [
        Case(
            series=of_health({'cslr_backup_timestamp_seconds{backup="nightly"}': "391x100"}),
            at="3d",
            labels={"backup": "nightly", **AT},
            said={"summary": "The last backup (nightly) is 2d 23h old"},
        ),
        Case(
            series=of_health({'cslr_backup_timestamp_seconds{backup="nightly"}': f"0x30 {DAY}x70"}), at="2d", quiet=True
        ),
    ],
    "CertificateExpiring": [
        Case(series=EXPIRY, at="8d", labels=WEB, said={"summary": "Certificate web expires in 12d 0h"}),
        Case(series=EXPIRY, at="476h", labels=WEB, said={"summary": "Certificate web expires in 4h 0m"}),
        Case(series=EXPIRY, at="22d", labels=WEB, said={"summary": "Certificate web expired 2d 0h ago"}),
        Case(series=EXPIRY, at="5d", quiet=True),
    ],
    "BuildFailed": [
        Case(
            series=of_health(
                {
                    'cslr_build_succeeded{image="health"}': "0x200",
                    'cslr_build_timestamp_seconds{image="health"}': "0x200",
                }
            ),
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

    assert "{{ if" not in text
    return re.sub(r"\{\{ (.+?) \}\}", value, text)


def unit_test(alert: str, case: Case, interval: str) -> dict[str, Any]:
    """A case in promtool's form."""
    rule = ALERTS[alert]
    expected = (
        []
        if case.quiet
        else [
            {
                # A label that the rule empties is none.
                "exp_labels": {name: text for name, text in {**rule["labels"], **case.labels}.items() if text},
                "exp_annotations": {
                    name: case.said.get(name) or shown(text, case) for name, text in rule["annotations"].items()
                },
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


def test_redis_is_warned_of_before_it_refuses_jobs():
    marks = {alert: float(ALERTS[alert]["expr"].rpartition("> ")[2]) for alert in ("LimitNear", "RedisFull")}
    assert marks["LimitNear"] < marks["RedisFull"] == FULL


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_says_how_bad_it_is_and_what_to_do(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "remedy"}
    assert "`" in rule["annotations"]["remedy"]


@pytest.mark.parametrize("alert", ALERTS)
def test_commands_of_remedies_name_the_stack(alert):
    commands = re.findall(r"`(ws [^`]+)`", ALERTS[alert]["annotations"]["remedy"])
    unnamed = [command for command in commands if "-s {{ $externalLabels.stack }}" not in command]
    assert [command for command in unnamed if command.split()[1] not in OF_NO_STACK] == []


def test_remedies_name_commands_that_there_are():
    commands = {
        words.split()[0] if words.split()[0] not in ("head", "node", "mlflow") else " ".join(words.split()[:2])
        for rule in ALERTS.values()
        for words in COMMAND.findall(rule["annotations"]["remedy"])
    }
    for command in commands:
        assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, command
