"""Names of files, times and levels, as the programs write them."""

from zoneinfo import ZoneInfo

import pytest

from tests.unit.ws.logs.ray_sessions import CLOCK
from ws.logs.kinds import kind_of, level_of, time_of


class TestTimes:
    @pytest.mark.parametrize(
        "line",
        [
            "[2026-11-28 03:00:00,250 I 12 34] (raylet) main.cc:1: text",
            "2026-11-28 03:00:00,250\tINFO head.py:191 -- text",
            "2026-11-28 03:00:00.250 UTC [12] LOG:  text",
            "2026-11-28T03:00:00.250000000Z",
            "2026-11-28T05:00:00.25+02:00 text",
            "2026-11-27 21:30:00.25-0530 text",
            '{"levelname": "INFO", "asctime": "2026-11-28 03:00:00,250", "message": "text"}',
        ],
    )
    def test_are_found(self, line):
        assert time_of(line) == CLOCK + 0.25

    def test_are_of_a_zone_unless_they_name_another(self):
        berlin = ZoneInfo("Europe/Berlin")
        assert time_of("2026-11-28 04:00:00,250 text", berlin) == time_of("2026-11-28T03:00:00.25Z", berlin)

    @pytest.mark.parametrize("line", ["", "text", "at 2026-11-28 03:00:00", "2026-99-99 03:00:00 text", "[1] text"])
    def test_are_not_found_elsewhere(self, line):
        assert time_of(line) is None


class TestLevels:
    @pytest.mark.parametrize(
        ("line", "level"),
        [
            ("[2026-11-28 03:00:00,250 I 12 34] (raylet) main.cc:1: text", "info"),
            ("[2026-11-28 03:00:00,250 E 12 34] (raylet) main.cc:1: text", "error"),
            ("[2026-11-28 03:00:00,250 C 12 34] (raylet) main.cc:1: text", "critical"),
            ("2026-11-28 03:00:00,250\tWARNING head.py:191 -- text", "warning"),
            ("2026-11-28 03:00:00.250 UTC [12] LOG:  text", "info"),
            ("2026-11-28 03:00:00.250 UTC [12] FATAL:  text", "critical"),
            ("1:M 28 Nov 2026 03:00:00.250 # text", "warning"),
            ("1:M 28 Nov 2026 03:00:00.250 * text", "info"),
            ("INFO:     127.0.0.1:50000 - text", "info"),
            ('{"levelname": "DEBUG", "message": "text"}', "debug"),
            ("this is no error", ""),
            ("INFORMATION", ""),
        ],
    )
    def test_are_named_by_the_line(self, line, level):
        assert level_of(line) == level


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "job"),
        [
            ("worker-" + "ab" * 28 + "-01000000-4711.out", "01000000"),
            ("worker-" + "ab" * 28 + "-01000000-4711.err.1", "01000000"),
            ("worker-" + "ab" * 28 + "-ffffffff-4711.err", ""),
            ("io_worker-" + "ab" * 28 + "-4711.out", ""),
            ("job-driver-raysubmit_AbC.log", "raysubmit_AbC"),
            ("job-driver-my.own-name.log", "my.own-name"),
            ("python-core-driver-01000000" + "f" * 48 + "_12.log", "01000000"),
            ("python-core-worker-" + "ab" * 28 + "_12.1.log", ""),
            ("runtime_env_setup-01000000.log", "01000000"),
            ("gcs_server.out", ""),
            ("dashboard.log.1", ""),
            ("ray_client_server_23000.err", ""),
        ],
    )
    def test_name_their_job(self, name, job):
        found = kind_of(name)
        assert found is not None
        assert found[1] == job

    @pytest.mark.parametrize("name", ["debug_state.txt", "gcs_server.out.gz", "logs", "out"])
    def test_others_are_none(self, name):
        assert kind_of(name) is None
