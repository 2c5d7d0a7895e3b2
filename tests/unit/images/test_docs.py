"""The table of all images in docs/images.md agrees with the catalog and the Dockerfiles."""

import re

import pytest

from components.image_set import IMAGES, LEAN_IMAGE
from images.catalog import CATALOG, FOLDER, ML, Image
from images.family import FAMILY

ROOT = FOLDER.parent
PAGE = ROOT / "docs" / "images.md"
SERVICE_IMAGES = [image for image in CATALOG.values() if image.folder != ML]


def row(image: Image) -> str:
    """As it is in the table."""
    path = image.dockerfile.relative_to(ROOT).as_posix()
    (description,) = re.findall(r'image\.description="([^"]*)"', image.dockerfile.read_text())
    locks = ", ".join(f"`{file.relative_to(ROOT).as_posix()}`" for file in image.lock_files()) or "Debian's release"
    services = ", ".join(f"`{service}`" for service, name in IMAGES.items() if name in (image.name, image.shown_as))
    return f"| [`{image.name}`](../{path}) | {image.suite} | {locks} | {description} | {services} |"


@pytest.mark.parametrize("image", SERVICE_IMAGES, ids=lambda image: image.name)
def test_image_of_a_service_has_its_row(image):
    assert row(image) in PAGE.read_text().splitlines()


def test_no_other_image_has_one():
    rows = re.findall(r"^\| \[`(\S+)`\]\(\.\./\S*Dockerfile\)", PAGE.read_text(), re.MULTILINE)
    assert rows == [image.name for image in SERVICE_IMAGES]


@pytest.mark.parametrize("name", [*FAMILY, LEAN_IMAGE])
def test_image_of_the_family_is_described(name):
    assert f"`{name}`" in PAGE.read_text()
