"""Versions that a rolling replacement cannot change: which differ, and the planned restart that is offered."""

import pytest

from config.cluster import Membership
from config.cluster_file import parse
from ws.errors import WsError
from ws.rolling.versions import differences, refuse

NOW = {"ray": "2.60.0", "python": "3.14.1", "torch": "cu128"}


def test_the_same_versions_are_not_refused():
    refuse(differences(NOW, dict(NOW)), "dev", None)


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ({"ray": "2.61.0", "python": "3.14.1"}, ["Ray 2.60.0 → 2.61.0"]),
        ({"ray": "2.60.0", "python": "3.13.5"}, ["Python 3.14.1 → 3.13.5"]),
        ({"python": "3.14.2"}, ["Python 3.14.1 → 3.14.2"]),
        ({"torch": "cu130"}, ["the build of torch cu128 → cu130"]),
        # What the stack file says is only the minor version.
        ({"ray": "2.60.0", "python": "3.14"}, []),
        ({"ray": "2.60.0", "python": "3.13"}, ["Python 3.14.1 → 3.13"]),
        # A pulled image says nothing before it runs.
        ({"ray": "", "python": "", "torch": ""}, []),
        ({}, []),
    ],
)
def test_one_that_changes_is_named_with_both_values(then, expected):
    assert [str(one) for one in differences(NOW, then)] == expected


class TestPlannedRestart:
    FOUND = differences(NOW, {"ray": "2.61.0"})

    def test_of_a_single_host_waits_for_jobs(self):
        with pytest.raises(WsError, match=r"Ray 2\.60\.0 → 2\.61\.0: .*(.|\n)*ws up --stack lab --drain 2h"):
            refuse(self.FOUND, "lab", None)

    def test_of_a_cluster_ends_all_hosts_before_one_begins(self):
        hosts = {"lab": {"address": "10.0.0.1"}, "beta": {"address": "10.0.0.2"}}
        cluster = parse({"name": "c", "hosts": hosts, "redis": {"host": "beta"}}, file="cluster.yaml", key="")
        membership = Membership(cluster=cluster, host="lab", file="cluster.yaml", key="")
        with pytest.raises(WsError) as refused:
            refuse(self.FOUND, "lab", membership)
        text = str(refused.value)
        assert "every host (lab, beta)" in text
        assert text.index("ws down --stack lab --drain 2h") < text.index("ws up --stack lab")
