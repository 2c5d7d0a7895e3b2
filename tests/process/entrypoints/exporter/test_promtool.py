"""The exporter's text, by Prometheus' own tool."""

import os
import re
import subprocess

PROBLEM = re.compile(r"^(\S+) ")


def test_promtool_has_nothing_to_say_about_our_names(promtool, start, driver):
    """Those of dcgm, which dashboards rely on, break its rules for names."""
    (driver / "gpus").write_text("2")
    (driver / "mig").touch()
    (driver / "xid-1").write_text("79")
    (driver / "processes").write_text(f"0 {os.getpid()} 512 30\n")
    running = start()
    running.until(lambda: running.value("cslr_gpu_xid_errors_total") == 1)
    text = running.get("/metrics")[1]
    assert "cslr_gpu_process_memory_bytes" in text
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "error while linting" not in said
    assert done.returncode == 3, said  # there are problems of names; 1 would be a text that is none
    assert {found[1].partition("_FI_")[0] for line in said.splitlines() if (found := PROBLEM.match(line))} == {"DCGM"}
