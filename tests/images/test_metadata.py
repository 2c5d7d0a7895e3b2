"""An image's metadata, without running it: complete labels, its user, its parent's layers, no secret."""

import re
from collections import defaultdict

import pytest

pytestmark = pytest.mark.live

CREDENTIALS = re.compile(r"://[^/\s@]+@|(?:password|passwd|secret|api[-_]?key|access[-_]?key)\s*[=:]", re.IGNORECASE)
TWELVE_DIGITS = re.compile(r"[0-9a-f]{12}")
VERSION_OR_NONE = re.compile(r"none|\d+(\.\d+)+(\+\w+)?")


@pytest.fixture
def labels(image) -> dict[str, str]:
    return defaultdict(str, image.labels)


class TestLabels:
    def test_name_the_image(self, image, labels):
        assert image.subject.image.name in labels["org.opencontainers.image.title"]
        assert image.subject.variant.key in labels["org.opencontainers.image.version"]
        assert labels["org.opencontainers.image.base.name"]
        assert labels["org.opencontainers.image.description"]

    def test_say_what_is_in_it(self, image, labels):
        """That it is in it, the checks inside find out."""
        variant = image.subject.variant
        expected = {
            "target": image.subject.image.name,
            "cuda": variant.cuda,
            "python": variant.python,
            "torch": variant.torch,
            "torch.cuda": variant.torch_cuda,
            "driver": str(variant.driver),
        }
        assert {name: labels[f"cslr.{name}"] for name in expected} == expected

    def test_name_the_lock_files(self, image, labels):
        arguments = image.subject.image.build_args(base="any", variant=image.subject.variant)
        assert TWELVE_DIGITS.fullmatch(arguments["LOCK"])
        assert labels["cslr.lock"] == arguments["LOCK"]

    def test_say_what_could_not_be_had(self, image, labels):
        for name in ("pyg-lib", *(["nvcc"] if "toolkit" in image.layers else [])):
            assert VERSION_OR_NONE.fullmatch(labels[f"cslr.{name}"]), name


class TestConfiguration:
    def test_runs_as_an_ordinary_user(self, image):
        assert image.image["Config"]["User"] == "1000:1000"

    def test_publishes_no_port_and_declares_no_volume(self, image):
        assert not image.image["Config"].get("ExposedPorts")
        assert not image.image["Config"].get("Volumes")

    def test_lets_the_gpu_compute_and_no_more(self, image):
        environment = dict(variable.split("=", 1) for variable in image.image["Config"]["Env"])
        assert environment.get("NVIDIA_DRIVER_CAPABILITIES") == "compute,utility"

    def test_no_secret_is_in_its_history_and_environment(self, image):
        history = [step["CreatedBy"] for step in image.engine.images.get(image.tag).history()]
        texts = [*history, *image.image["Config"]["Env"], *map(str, image.labels.values())]
        assert [text for text in texts if CREDENTIALS.search(text)] == []


class TestFiles:
    def test_folders_for_others_are_empty(self, image):
        """Inspected from outside: when the image runs, others use these, or something is mounted over them."""
        assert image.files_below("/tmp", "/var/tmp", "/run/lock", "/mnt", "/srv") == []


class TestLayers:
    def test_begin_with_those_of_its_parent(self, image):
        """So a host that has the parent stores and pulls only what the child adds."""
        parent = next(image.subject.ancestors, None)
        if parent is None:  # the family's first image
            return
        below = image.engine.images.get(image.tag.replace(image.subject.name, parent.name)).attrs["RootFS"]["Layers"]
        assert image.image["RootFS"]["Layers"][: len(below)] == below
