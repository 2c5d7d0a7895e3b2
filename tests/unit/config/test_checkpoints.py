"""`ray.checkpoints`: a folder that hosts share, or an object store."""

import pytest

from config.load import load
from config.problems import SettingsError
from config.services import RaySettings

FILE = "Pulumi.dev.yaml"


def ray(checkpoints: str | None, **more: object) -> RaySettings:
    return load({"ray": {"checkpoints": checkpoints}, **more}, stack_file=FILE).ray


def refusal(checkpoints: str, **more: object) -> str:
    with pytest.raises(SettingsError) as caught:
        ray(checkpoints, **more)
    assert all(problem.commands for problem in caught.value.problems)
    return str(caught.value)


class TestCheckpoints:
    @pytest.mark.parametrize(
        ("key", "folder", "told"),
        [
            (None, None, None),
            ("/mnt/nfs//checkpoints/", "/mnt/nfs/checkpoints", "/checkpoints"),
            ("s3://bucket/lab?region=eu-central-1", None, "s3://bucket/lab?region=eu-central-1"),
            ("gs://bucket", None, "gs://bucket"),
        ],
    )
    def test_are_in_a_folder_or_a_store(self, key, folder, told):
        settings = ray(key)
        assert (settings.checkpoints_folder, settings.storage_path) == (folder, told)

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("checkpoints", "is neither a folder's absolute path nor the URL of an object store"),
            ("/mnt/../etc", "must be a plain absolute path"),
            ("ftp://host/x", "is not a URL of s3:// or gs://"),
            ("s3://", "is not a URL of s3:// or gs://"),
            ("s3://bucket/a b", "is not a URL of s3:// or gs://"),
            ("s3://key:secret@bucket", "holds credentials"),
            ("/etc/checkpoints", "this host's own configuration"),
        ],
    )
    def test_are_refused_elsewhere(self, key, reason):
        assert f"{FILE}: cslr:platform.ray.checkpoints: " in refusal(key)
        assert reason in refusal(key)

    def test_have_a_place_of_their_own(self):
        assert "already holds" in refusal("/srv/a", mlflow={"artifacts": "/srv/a"})
        volumes = [{"source": "/srv/b", "target": "/checkpoints"}]
        assert "is taken by the folder of ray.checkpoints" in refusal("/srv/a", marimo={"volumes": volumes})
        load({"marimo": {"volumes": volumes}}, stack_file=FILE)
