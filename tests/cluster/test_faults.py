"""Every case of docs/decisions/0021-failures-of-a-cluster.md that can be provoked, on real daemons."""

import time

import pytest

from testing.cluster.faults import BEYOND, REDIS_OUTAGE
from testing.cluster.form import in_the_long_form
from testing.cluster.trial import Trial

pytestmark = pytest.mark.cluster


class TestHeadKilled:
    def test_its_agent_starts_it_again_in_the_same_epoch(self, trial: Trial):
        outcome = trial.suffer("head_process_killed")
        assert not outcome.moved
        assert outcome.epochs == 0

    def test_with_its_container_comes_back_in_a_new_epoch_without_waiting_for_the_lease(self, trial: Trial):
        outcome = trial.suffer("head_container_killed")
        assert not outcome.moved
        assert outcome.epochs == 1

    @in_the_long_form
    def test_by_docker_kill_lets_the_next_host_lead(self, trial: Trial):
        assert trial.suffer("head_container_down", until=trial.another_leads).moved

    @in_the_long_form
    def test_with_its_agent_alone_comes_back_in_a_new_epoch(self, trial: Trial):
        outcome = trial.suffer("agent_killed")
        assert outcome.epochs == 1


class TestPlannedMove:
    def test_takes_no_task_and_no_call_with_it(self, trial: Trial):
        began = time.monotonic()
        outcome = trial.suffer("head_moved")
        assert outcome.moved
        assert outcome.epochs == 1
        kinds = ("increment", "task", "long")
        events = [event for event in trial.cluster.history.since(began) if event["kind"] in kinds]
        assert not [event for event in events if not event["ok"]]


class TestHostLost:
    def test_of_the_head_lets_the_next_host_lead_and_gives_nothing_back(self, trial: Trial):
        outcome = trial.suffer("leader_lost", until=trial.another_leads)
        assert outcome.moved
        assert outcome.epochs == 1

    @in_the_long_form
    def test_of_a_standby_changes_no_head(self, trial: Trial):
        outcome = trial.suffer("standby_lost", BEYOND)
        assert not outcome.moved
        assert outcome.epochs == 0

    def test_docker_engine_of_the_head_restarts_and_all_its_containers_come_back(self, trial: Trial):
        outcome = trial.suffer("dockerd_restarted")
        assert outcome.epochs >= 1


class TestFrozen:
    @in_the_long_form
    def test_head_is_started_anew_and_the_old_one_never_writes_again(self, trial: Trial):
        outcome = trial.suffer("head_frozen", BEYOND)
        assert outcome.after["ready"] == "1"

    @in_the_long_form
    def test_agent_is_killed_with_its_head_by_the_process_beside_it(self, trial: Trial):
        outcome = trial.suffer("agent_frozen", BEYOND)
        assert outcome.epochs >= 1

    def test_container_of_the_head_loses_its_lease_and_wakes_up_without_rights(self, trial: Trial):
        outcome = trial.suffer("head_container_paused", until=trial.another_leads)
        assert outcome.moved
        assert outcome.epochs == 1


class TestCutOff:
    @in_the_long_form
    def test_cable_of_the_head_out_lets_the_next_host_lead(self, trial: Trial):
        outcome = trial.suffer("link_down", until=trial.another_leads)
        assert outcome.moved

    @in_the_long_form
    @pytest.mark.parametrize("fault", ["head_cannot_reach_redis", "redis_cannot_reach_head"])
    def test_one_direction_between_head_and_redis_lets_the_next_host_lead(self, trial: Trial, fault: str):
        outcome = trial.suffer(fault, until=trial.another_leads)
        assert outcome.moved

    def test_head_that_only_redis_reaches_gives_up(self, trial: Trial):
        outcome = trial.suffer("workers_cannot_reach_head", until=trial.another_leads)
        assert outcome.moved

    @in_the_long_form
    def test_halves_join_again(self, trial: Trial):
        outcome = trial.suffer("partition", BEYOND)
        assert outcome.after["ready"] == "1"

    @in_the_long_form
    def test_address_that_flaps_breaks_nothing_for_good(self, trial: Trial):
        assert trial.suffer("address_flaps").after["ready"] == "1"


class TestRedis:
    @in_the_long_form
    def test_replaced_without_a_copy_takes_the_head_and_no_call(self, trial: Trial):
        outcome = trial.suffer("redis_replaced")
        assert outcome.after["incarnation"] == outcome.before["incarnation"]
        print(f"a new actor {outcome.creation:.1f} s after the replacement of Redis began")  # noqa: T201 (pytest -rP)

    @in_the_long_form
    def test_killed_leaves_no_head_anywhere_and_lets_calls_go_on(self, trial: Trial):
        began = time.monotonic()
        outcome = trial.suffer("redis_restarted", REDIS_OUTAGE)
        assert outcome.during == {}
        assert outcome.after["incarnation"] == outcome.before["incarnation"]
        outage = [
            event
            for event in trial.cluster.history.since(began + REDIS_OUTAGE / 2, "increment")
            if event["time"] < began + REDIS_OUTAGE
        ]
        assert any(event["ok"] for event in outage), outage

    @in_the_long_form
    def test_whose_clock_jumps_ends_the_lease_and_breaks_nothing(self, trial: Trial):
        outcome = trial.suffer("redis_clock_jumps", BEYOND)
        assert outcome.epochs >= 1

    def test_without_its_data_is_a_clean_start(self, trial: Trial):
        outcome = trial.suffer("redis_wiped", REDIS_OUTAGE)
        assert outcome.after["incarnation"] != outcome.before["incarnation"]
        assert outcome.epochs >= 1


class TestAgents:
    def test_a_second_one_on_a_host_waits_and_starts_no_head(self, trial: Trial):
        outcome = trial.suffer("second_agent", BEYOND)
        assert outcome.epochs == 0

    @in_the_long_form
    def test_without_one_alive_there_is_no_head_and_one_comes_back_with_them(self, trial: Trial):
        outcome = trial.suffer("no_candidate", until=trial.nobody_leads)
        assert outcome.during == {}
        assert outcome.after["ready"] == "1"
