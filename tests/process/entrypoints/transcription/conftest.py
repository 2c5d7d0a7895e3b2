"""The transcription service with a recognizer that hears what a file's own text says."""

import pytest

from tests.process.entrypoints.transcription.pretended import Service


@pytest.fixture
def service(tmp_path):
    found = Service(tmp_path)
    yield found
    found.recognizer.gate.set()
    found.stop()
