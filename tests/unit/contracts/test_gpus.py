import pytest

from contracts.document import dump, load
from contracts.gpus import ALL_GPUS, NO_GPUS, Gpus

TWO = Gpus(devices=("3", "GPU-1a"))


@pytest.mark.parametrize(
    ("gpus", "some", "count", "docker"),
    [
        (NO_GPUS, False, 0, (0, [])),
        (ALL_GPUS, True, None, (-1, [])),
        (TWO, True, 2, (0, ["3", "GPU-1a"])),
    ],
    ids=["none", "all", "listed"],
)
class TestGpus:
    def test_have_a_count_and_a_device_request(self, gpus, some, count, docker):
        assert (bool(gpus), gpus.count, gpus.docker_request()) == (some, count, docker)

    def test_are_the_same_after_a_document(self, gpus, some, count, docker):
        assert load(Gpus, dump(gpus)) == gpus


def test_all_and_a_list_exclude_each_other():
    with pytest.raises(ValueError, match="either all GPUs or a list"):
        Gpus(every=True, devices=("0",))
