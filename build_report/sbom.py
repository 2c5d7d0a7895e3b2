"""The bill of materials of an image, as CycloneDX 1.6."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from build_report.records import Build, Image, Package

VERSION = SchemaVersion.V1_6
NAMESPACE = uuid.UUID("5e6f4a52-57cb-4f0e-9a52-3c1a6a8e6c11")  # of the serial numbers: the same image, the same SBOM


def sbom(build: Build, image: Image) -> str:
    """The document, as JSON: the image and its packages."""
    repository, _, label = build.tag.rpartition(":")
    subject = Component(
        name=repository,
        version=label,
        type=ComponentType.CONTAINER,
        bom_ref=image.image_id,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.image_id.removeprefix("sha256:"))],
        properties=[
            *(Property(name=f"label:{name}", value=value) for name, value in image.labels.items()),
            Property(name="size", value=str(image.size)),
            Property(name="platform", value=build.subject.platform),
        ],
    )
    bom = Bom(serial_number=uuid.uuid5(NAMESPACE, image.image_id), components=_components(image))
    bom.metadata.component = subject
    bom.metadata.timestamp = datetime.fromtimestamp(image.created, UTC)
    bom.register_dependency(subject, bom.components)
    return str(make_outputter(bom, OutputFormat.JSON, VERSION).output_as_string(indent=2)) + "\n"


def _components(image: Image) -> Iterator[Component]:
    for package in image.packages:
        purl = _purl(package, image.distribution)
        yield Component(
            name=package.name,
            version=package.version,
            bom_ref=purl.to_string(),
            purl=purl,
            properties=[Property(name="size", value=str(package.size))],
        )


def _purl(package: Package, distribution: str) -> PackageURL:
    if package.kind == "python":
        return PackageURL(type="pypi", name=package.name, version=package.version)
    qualifiers = {"arch": package.architecture, "distro": distribution}
    # Debian's advisories are by source package.
    qualifiers |= {"upstream": package.source} if package.source else {}
    return PackageURL(
        type="deb",
        namespace=distribution.partition("-")[0] or "debian",
        name=package.name,
        version=package.version,
        qualifiers={name: value for name, value in qualifiers.items() if value},
    )
