"""A new named volume is given to its user; existing data of others is left alone."""

import docker
import pytest

from docker_api import volume_owner
from docker_api.volume_owner import VolumeError, give


@pytest.mark.live
class TestLive:
    @pytest.fixture
    def volume(self, docker_engine):
        client = docker.from_env()
        made = client.volumes.create("cslr-test-volume-owner")
        yield made
        made.remove(force=True)

    def test_a_new_volume_is_given_and_one_of_others_is_not(self, volume):
        client = docker.from_env()
        images = [str(image.id) for image in client.images.list("cslr/redis")]
        if not images:
            pytest.skip("no image is built yet")
        give(client, volume.name, "1000:1000", "/data", images[0])
        give(client, volume.name, "1000:1000", "/data", images[0])
        with pytest.raises(VolumeError, match="was given to user 1000"):
            give(client, volume.name, "999:999", "/data", images[0])
        with pytest.raises(VolumeError, match="such as /mnt/cslr-test-volume-owner"):
            give(client, volume.name, "1000:1000", "/mnt", images[0])
        assert volume_owner.TARGET == "/volume"
