"""What `ws ps` and `ws doctor` say of a running stack, from its health service's report."""

import pytest

from ws import doctor
from ws.doctor import State
from ws.services import in_words, uses

REPORT = {
    "services": [
        {"name": "ray-cpu", "error": "scratch full: 40 of 40 GB", "usage": [
            {"name": "scratch", "used": 40 * 10**9, "limit": 40 * 10**9}]},
        {"name": "redis", "error": None, "warning": "memory: 280 of 320 MiB", "usage": [
            {"name": "memory", "used": 280 * 2**20, "limit": 320 * 2**20}]},
        {"name": "mlflow", "error": None},
    ]
}  # fmt: skip


class TestUses:
    def test_what_is_bounded_is_shown_with_its_limit(self):
        assert uses(REPORT) == {"ray-cpu": "scratch 40.0 of 40.0 GB", "redis": "memory 293.6 of 335.5 MB", "mlflow": ""}

    def test_without_a_report_nothing_is_known(self):
        assert uses(None) == {}

    @pytest.mark.parametrize(
        ("used", "limit", "text"), [(0, 10**9, "memory 0.0 of 1.0 GB"), (5 * 10**6, 10**8, "memory 5.0 of 100.0 MB")]
    )
    def test_the_unit_fits_the_limit(self, used, limit, text):
        assert in_words({"name": "memory", "used": used, "limit": limit}) == text


class TestDoctor:
    def test_a_full_scratch_is_said_by_name(self):
        rows = {row.detail: row.state for row in doctor.running_rows(REPORT)}
        assert rows == {"ray-cpu: scratch full: 40 of 40 GB": State.FAIL, "redis: memory: 280 of 320 MiB": State.WARN}

    def test_a_sound_stack_is_one_line(self):
        (row,) = doctor.running_rows({"services": [{"name": "mlflow", "error": None}]})
        assert (row.state, row.detail) == (State.OK, "1 services are healthy")

    def test_a_stack_that_does_not_run_is_no_matter_of_a_precondition(self):
        assert doctor.running_rows(None) == []
