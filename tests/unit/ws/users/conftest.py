"""The project that these tests change."""

from pathlib import Path

import pytest

from testing.people import FILE, Docker
from ws import stack_settings
from ws.config import editing
from ws.users import people


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stack file of a project of its own."""
    for module in (editing, stack_settings):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "correct horse")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setattr(people, "DockerApi", Docker)
    monkeypatch.setattr(people, "containers", lambda _: [])
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\nruntime: python\n")
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(FILE)
    return file
