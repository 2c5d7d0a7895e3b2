"""The names of Ray's log files, of which each start of a node takes further ones."""

import tempfile
from collections import defaultdict
from types import ModuleType

import pytest
from ray._private import node

from entrypoints.hooks import log_names

OF_PYTHON = 20  # tempfile.TMP_MAX from Python 3.14.8 on


@pytest.fixture
def started_often(tmp_path, monkeypatch):
    """A node of a session in which nodes were started as often as Python allows."""
    monkeypatch.setattr(tempfile, "TMP_MAX", OF_PYTHON)
    for number in range(OF_PYTHON):
        (tmp_path / (f"gcs_server.{number}.out" if number else "gcs_server.out")).touch()
    started = node.Node.__new__(node.Node)
    started._incremental_dict = defaultdict(int)
    return lambda: started._make_inc_temp(suffix=".out", prefix="gcs_server", directory_name=f"{tmp_path}")


def test_end_where_python_gives_up_without_the_hook(started_often):
    with pytest.raises(FileExistsError, match="No usable temporary filename"):
        started_often()


def test_go_on_with_it(started_often, tmp_path):
    log_names.hook_node(node)
    assert started_often() == f"{tmp_path}/gcs_server.{OF_PYTHON}.out"


def test_of_a_ray_that_counts_otherwise_are_left_alone():
    with pytest.raises(AttributeError, match="tempfile"):
        log_names.hook_node(ModuleType("ray._private.node"))
