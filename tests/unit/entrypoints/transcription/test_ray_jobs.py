"""Where Ray's nodes see the media of a job."""

from pathlib import Path

from contracts.transcription import RaySettings
from entrypoints.transcription.media import Tree
from entrypoints.transcription.ray_jobs import Attempts


def test_a_dataset_is_where_nodes_mount_it(tmp_path):
    folder = tmp_path / "datasets"
    (folder / "signs" / "train").mkdir(parents=True)
    (folder / "signs" / "train" / "one.mp4").touch()
    tree = Tree(roots={"datasets": folder}, kept=tmp_path / "peaks")
    attempts = Attempts(RaySettings(dashboards=()), tmp_path, tree, tmp_path / "models")
    assert attempts.seen("datasets/signs/train/one.mp4") == Path("/data/signs/train/one.mp4")
