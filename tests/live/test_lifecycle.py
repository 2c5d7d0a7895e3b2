"""The life of the whole platform on the embedded engine, on one deployment. About four minutes with built images."""

import re
import threading
import time
from datetime import datetime

import docker
import pytest
import requests

from components.docker import CALM_SECONDS
from contracts.status import Status
from testing.live.deployment import AT_ONCE, LiveStack, done, wait_until

pytestmark = pytest.mark.live

SERVICES = {"redis", "postgres", "mlflow", "health", "ray-cpu", "marimo", "keeper"}
SECONDS = 20.0  # for an answer, and for a change that the health service sees at its next round
UP_AGAIN_SECONDS = 120.0
UNCHANGED_SECONDS = 10.0  # the goal is 3 s; a shared machine may be slow
WATCHED_SECONDS = 10.0
ATTEMPTS = 3  # in which another group of tests may deploy meanwhile
VERIFICATION = "verification"


class TestDeployed:
    def test_every_service_is_healthy(self, platform):
        assert set(platform.containers()) == platform.expected(SERVICES)
        assert platform.unhealthy() == {}

    def test_the_verification_passed(self, platform):
        verification = platform.last_verification()
        assert verification["ok"]
        assert list(verification["nodes"]) == ["ray-cpu"]
        results = {check["name"]: check["result"] for check in verification["checks"]}
        assert set(results.values()) <= {"pass", "skip"}

    def test_an_up_changes_nothing_and_takes_seconds(self, platform):
        before = platform.ids()
        took: list[float] = []
        while not took or (min(took) >= UNCHANGED_SECONDS and len(took) < ATTEMPTS):
            began = time.monotonic()
            again = platform.ws("up", "--engine", "embedded")
            took.append(time.monotonic() - began)
            assert again.returncode == 0, again.stdout
        assert min(took) < UNCHANGED_SECONDS, took
        assert platform.ids() == before
        assert done(platform.up()) == {}

    def test_a_preview_is_clean(self, platform):
        assert platform.ws("preview", "--engine", "embedded", "--expect-no-changes").returncode == 0


class TestIdle:
    def test_a_healthy_container_is_checked_twice_a_minute(self, platform):
        """Checks by their begins, as Docker keeps the last five; the one before the wait was a success."""
        redis = platform.container("redis")

        def begins() -> list[datetime]:
            redis.reload()
            checks = redis.attrs["State"]["Health"]["Log"]
            return [datetime.fromisoformat(check["Start"]) for check in checks if check["ExitCode"] == 0]

        known = begins()[-1]
        wait_until(lambda: begins()[-1] > known, "the next check", 2 * CALM_SECONDS + SECONDS)
        assert (begins()[-1] - known).total_seconds() >= CALM_SECONDS

    def test_ray_asks_redis_once_a_second_whether_it_is_there(self, platform):
        def pings() -> int:
            script = 'REDISCLI_AUTH="$(cat /run/secrets/redis-password)" redis-cli info commandstats'
            _, counts = platform.exec("redis", "sh", "-c", script)
            return int(re.findall(r"cmdstat_ping:calls=(\d+)", counts)[0])

        before, began = pings(), time.monotonic()
        time.sleep(WATCHED_SECONDS)
        assert 0.5 < (pings() - before) / (time.monotonic() - began) < 3


class TestChange:
    def test_of_one_setting_replaces_exactly_its_container_and_verifies_again(self, platform):
        before, verified = platform.ids(), platform.last_verification()["started"]
        platform.settings["health"]["env"] = {"LIVE_TEST": "1"}
        platform.configure()
        planned = done(platform.preview())
        assert done(platform.up()) == planned == {"health-container": "replace", VERIFICATION: "update"}
        after = platform.ids()
        assert {service for service in after if after[service] != before[service]} == {"health"}
        assert platform.last_verification()["started"] > verified
        assert platform.unhealthy() == {}


class TestBehindItsBack:
    def test_a_removed_container_is_made_again_and_the_others_stay(self, platform):
        before = platform.ids()
        platform.container("health").remove(force=True)
        assert done(platform.up()) == {"health-container": "create", VERIFICATION: "update"}
        after = platform.ids()
        assert {service for service in SERVICES if after[service] != before[service]} == {"health"}
        assert platform.unhealthy() == {}

    @pytest.mark.parametrize("interfere", ["stop", "pause"])
    def test_a_container_that_does_not_run_runs_again(self, platform, interfere):
        before = platform.ids()
        getattr(platform.container("mlflow"), interfere)()
        assert done(platform.up()) == {"mlflow-container": "repair"}
        assert platform.ids() == before
        assert platform.unhealthy() == {}


class TestReason:
    @pytest.mark.parametrize(
        ("interfere", "back", "reason"), [("pause", "unpause", "timeout"), ("stop", "start", "name_unknown")]
    )
    def test_of_a_service_that_is_down_is_the_same_everywhere(self, platform, monkeypatch, interfere, back, reason):
        monkeypatch.setitem(platform.variables, "COLUMNS", "250")  # so that no cell is folded
        url = f"http://127.0.0.1:{platform.settings['health']['port']}"
        mlflow = platform.container("mlflow")

        def told() -> str | None:
            service = Status.from_json(requests.get(f"{url}/status", timeout=SECONDS).content).service("mlflow")
            return service.reason.value if service and service.reason else None

        getattr(mlflow, interfere)()
        try:
            wait_until(lambda: told() == reason, f"health says {reason}", SECONDS)
            assert f"<code>{reason}</code>" in requests.get(url, timeout=SECONDS).text
            row = next(line for line in platform.ws("ps").stdout.splitlines() if line.startswith("mlflow"))
            assert f"{reason}: " in row
            assert ("paused" if interfere == "pause" else "exited") in row
        finally:
            getattr(mlflow, back)()
        wait_until(lambda: told() is None and platform.unhealthy() == {}, "mlflow works again", UP_AGAIN_SECONDS)


class TestFailedVerification:
    def test_fails_the_run_names_the_check_shows_the_log_and_is_made_good_by_the_next(self, platform):
        """The Ray node dies while it is verified: a node is missing."""
        platform.settings["health"]["env"] = {"LIVE_TEST": "2"}
        platform.configure()
        killer = threading.Thread(target=kill_ray_once_verification_runs, args=(platform,))
        killer.start()
        failed = platform.ws("up", "--engine", "embedded")
        killer.join()
        missing = set(platform.unhealthy())
        repaired = platform.up()

        assert failed.returncode == 1
        assert missing == {"ray-cpu"}
        assert "connect failed: no Ray head answers" in failed.stdout, failed.stdout
        assert "Last lines of cslr-live-ray-cpu" in failed.stdout
        assert "Traceback" not in failed.stdout
        assert done(repaired)["ray-cpu-container"] == "repair"
        assert done(repaired)[VERIFICATION] in ("create", "update")
        assert platform.unhealthy() == {}
        assert platform.last_verification()["ok"]


def kill_ray_once_verification_runs(stack: LiveStack) -> None:
    def verifies() -> bool:
        try:
            return bool(stack.engine.containers.get("cslr-live-verify").status == "running")
        except docker.errors.NotFound:
            return False

    wait_until(verifies, "the verification", seconds=120, every=AT_ONCE)
    stack.container("ray-cpu").kill()
