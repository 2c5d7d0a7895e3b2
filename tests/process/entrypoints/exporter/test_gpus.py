"""GPUs of the exporter, on a fake of the driver's library: what they tell, and every way in which they fail."""

import os
import time

import pytest

LABELS = {"gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname"}


class TestEightGpus:
    @pytest.fixture
    def running(self, start, driver):
        (driver / "gpus").write_text("8")
        return start(hostname="gpuhost")

    def test_have_the_names_and_labels_of_dcgm(self, running):
        metrics = running.metrics()
        for name in ("SM_CLOCK", "MEM_CLOCK", "GPU_TEMP", "POWER_USAGE", "TOTAL_ENERGY_CONSUMPTION", "GPU_UTIL"):
            samples = metrics[f"DCGM_FI_DEV_{name}"].samples
            assert len(samples) == 8
            assert all(set(sample.labels) == LABELS for sample in samples)
        assert {sample.labels["Hostname"] for sample in metrics["DCGM_FI_DEV_GPU_TEMP"].samples} == {"gpuhost"}

    def test_have_the_units_of_dcgm(self, running):
        assert running.value("DCGM_FI_DEV_POWER_USAGE", gpu="3") == 123.456
        assert running.value("DCGM_FI_DEV_FB_USED", gpu="3") == 30000
        assert running.value("DCGM_FI_DEV_FB_FREE", gpu="3") == 50000
        assert running.value("DCGM_FI_DEV_GPU_TEMP", gpu="3") == 43
        assert running.value("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", gpu="3") == 2

    def test_do_not_show_what_they_do_not_know(self, running):
        assert not {"DCGM_FI_DEV_ENC_UTIL", "DCGM_FI_DEV_MEMORY_TEMP"} & running.metrics().keys()

    def test_are_healthy(self, running):
        assert running.get("/health")[0] == 200
        assert running.value("cslr_gpu_expected") == 8


class TestThrottledGpu:
    def test_says_why_it_lowers_its_clocks(self, start, driver):
        (driver / "gpus").write_text("2")
        (driver / "throttle-1").write_text(str(0x40 | 0x1))  # because of heat; the bit of an idle GPU means nothing
        running = start()
        assert running.value("cslr_gpu_throttled", UUID="GPU-1", reason="thermal") == 1
        assert running.value("cslr_gpu_throttled", UUID="GPU-1", reason="power") == 0
        assert running.value("cslr_gpu_throttled", UUID="GPU-0", reason="thermal") is None  # it does not know


class TestLostGpu:
    def test_is_down_while_the_others_go_on_and_it_stays_expected(self, start, driver):
        (driver / "gpus").write_text("2")
        running = start()
        (driver / "lost-1").touch()
        running.until(lambda: running.value("cslr_gpu_up", UUID="GPU-1") == 0)
        assert running.value("cslr_gpu_up", UUID="GPU-0") == 1
        assert running.value("cslr_gpu_expected") == 2
        assert running.value("DCGM_FI_DEV_GPU_TEMP", gpu="0") == 40
        assert running.value("DCGM_FI_DEV_GPU_TEMP", gpu="1") is None
        assert running.problems() == ["1 of the expected GPUs does not answer"]

    def test_is_missed_although_nvml_counts_it_no_more(self, start, driver):
        (driver / "gpus").write_text("2")
        running = start()
        (driver / "gpus").write_text("1")
        (driver / "lost-1").touch()
        running.until(lambda: running.value("cslr_gpu_up", UUID="GPU-1") == 0)

    def test_comes_back(self, start, driver):
        (driver / "gpus").write_text("2")
        running = start()
        (driver / "lost-1").touch()
        running.until(lambda: running.get("/health")[0] == 503)
        (driver / "lost-1").unlink()
        running.until(lambda: running.get("/health")[0] == 200)

    def test_that_was_never_seen_is_missed_where_it_is_expected(self, start, driver):
        (driver / "gpus").write_text("7")
        running = start(gpus_expected=8)
        assert running.get("/health")[0] == 503
        assert running.value("cslr_gpu_expected") == 8


class TestCallThatHangs:
    def test_costs_no_scrape_and_health_says_so(self, start, driver):
        (driver / "gpus").write_text("2")
        running = start(deadline=2.0)
        running.until(lambda: running.get("/health")[0] == 200)  # on a busy machine the first answer may be late
        (driver / "hang-1").touch()
        running.until(lambda: any("did not answer in time" in problem for problem in running.problems()))
        began = time.monotonic()
        assert running.get("/metrics")[0] == 200
        assert time.monotonic() - began < 1
        assert running.value("cslr_gpu_up", UUID="GPU-0") == 0
        assert running.value("cslr_collect_success", collector="gpu") == 0

    def test_ends_when_the_gpu_answers_again(self, start, driver):
        (driver / "gpus").write_text("2")
        running = start(deadline=2.0)
        running.until(lambda: running.get("/health")[0] == 200)  # on a busy machine the first answer may be late
        (driver / "hang-1").touch()
        running.until(lambda: running.get("/health")[0] == 503)
        (driver / "hang-1").unlink()
        running.until(lambda: running.get("/health")[0] == 200)


class TestMig:
    def test_instances_have_their_profile_and_their_memory(self, start, driver):
        (driver / "gpus").write_text("2")
        (driver / "mig").touch()
        running = start()
        samples = running.metrics()["DCGM_FI_DEV_FB_USED"].samples
        parts = {s.labels["GPU_I_ID"]: s for s in samples if "GPU_I_ID" in s.labels}
        assert set(parts) == {"7", "8"}
        assert parts["7"].labels["GPU_I_PROFILE"] == "1g.10gb"
        assert parts["7"].value == 1000
        assert len(samples) == 4


class TestXid:
    def test_is_counted_with_its_time(self, start, driver):
        (driver / "gpus").write_text("2")
        running = start()
        assert running.value("DCGM_FI_DEV_XID_ERRORS", gpu="1") == 0
        for _ in range(2):
            (driver / "xid-1").write_text("79")
            running.until(lambda: not (driver / "xid-1").exists())
        running.until(lambda: running.value("cslr_gpu_xid_errors_total", UUID="GPU-1", xid="79") == 2)
        assert running.value("DCGM_FI_DEV_XID_ERRORS", gpu="1") == 79
        last = running.value("cslr_gpu_xid_last_timestamp_seconds", UUID="GPU-1", xid="79")
        assert abs(last - time.time()) < 60


class TestUnifiedMemory:
    def test_is_that_of_the_host(self, start, driver):
        """GB10 of a DGX Spark."""
        (driver / "gpus").write_text("1")
        (driver / "unified").touch()
        running = start()
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert running.value("cslr_gpu_memory_bytes", memory="unified") == pytest.approx(total, rel=0.02)
        assert running.value("DCGM_FI_DEV_FB_USED", gpu="0") > 0


class TestWithoutNvml:
    def test_one_series_says_so_and_the_rest_works(self, start, tmp_path):
        folder = tmp_path / "none"
        folder.mkdir()
        (folder / "libnvidia-ml.so.1").write_text("no library")
        running = start(library=folder)
        assert running.value("cslr_nvml_info", available="no") == 1
        assert running.get("/health")[0] == 200
        assert "cslr_gpu_up" not in running.metrics()

    def test_a_driver_that_fails_is_no_missing_driver(self, start, driver):
        (driver / "init").write_text("18")
        running = start()
        assert running.get("/health")[0] == 503
        assert running.process.poll() is None


class TestUnknownError:
    def test_after_gpus_were_there_ends_the_exporter_so_that_docker_restarts_it(self, start, driver):
        """As after `systemctl daemon-reload`."""
        (driver / "gpus").write_text("2")
        running = start()
        (driver / "count").write_text("999")
        assert running.process.wait(30) == 75
        assert "lost its GPUs" in running.process.stdout.read()

    def test_from_the_beginning_restarts_nothing(self, start, driver):
        (driver / "init").write_text("999")
        running = start()
        time.sleep(1)
        assert running.process.poll() is None
        assert running.get("/health")[0] == 503


class TestProcesses:
    def test_are_shown_by_name_with_memory_and_utilization_and_no_command_line(self, start, driver):
        (driver / "gpus").write_text("1")
        (driver / "processes").write_text(f"0 {os.getpid()} 512 30\n")
        running = start()
        assert running.value("cslr_gpu_process_memory_bytes", UUID="GPU-0") == 512 * 2**20
        assert running.value("cslr_gpu_process_utilization_ratio", UUID="GPU-0") == 0.3
        (sample,) = running.metrics()["cslr_gpu_process_memory_bytes"].samples
        assert set(sample.labels) == {"UUID", "container", "name", "ray_job", "ray_node", "ray_task", "service"}
        assert len(sample.labels["name"]) <= 15


class TestDemo:
    def test_shows_gpus_without_any(self, start, tmp_path):
        running = start(library=tmp_path, demo_gpus=8)
        assert len(running.metrics()["DCGM_FI_DEV_GPU_UTIL"].samples) == 8
        assert running.get("/health")[0] == 200
