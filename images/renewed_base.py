"""Makes a base image anew, with Debian's packages of today: what `images.base.bootstrap` does, and the day as a label.

Usage: ``python -m images.renewed_base --edition 2026-11-27 --suite forky --source bootstrap --tag cslr/base:forky-…``

A module of its own, because every file of `images/base` is part of the recipe: a change there renames all bases. Does
nothing where the tag exists.
"""

import argparse
import io
import sys

import docker
import docker.errors
import docker.utils
import requests

from images.base import bootstrap
from images.base.bootstrap import ENGINE_TIMEOUT, BaseImageError
from images.base.recipe import PLATFORM, PLATFORMS, SOURCES, SUITES, Platform, Source, Suite
from images.layers import BASE_DATE


def main(arguments: list[str] | None = None) -> int:
    """Make the base image that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m images.renewed_base", description="Make a base image anew.")
    parser.add_argument("--edition", required=True, help="the day, for example 2026-11-27")
    parser.add_argument("--suite", choices=SUITES, required=True)
    parser.add_argument("--source", choices=SOURCES, required=True)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--platform", choices=PLATFORMS, default=PLATFORM)
    parser.add_argument("--debian-mirror", metavar="URL")
    options = parser.parse_args(arguments)
    try:
        renew(
            options.suite, options.source, options.tag, options.debian_mirror, options.platform, edition=options.edition
        )
    except BaseImageError as error:
        print(f"{options.tag}: {error}", file=sys.stderr)
        return 1
    except (docker.errors.DockerException, requests.RequestException) as error:
        print(f"{options.tag}: the Docker Engine refused: {error}", file=sys.stderr)
        return 1
    return 0


def renew(suite: Suite, source: Source, tag: str, mirror: str | None, platform: Platform, *, edition: str) -> None:
    """Make the image ``tag`` of a day unless it exists. Raises BaseImageError."""
    client = docker.APIClient(timeout=ENGINE_TIMEOUT, **docker.utils.kwargs_from_env())
    try:
        client.inspect_image(tag)  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        pass
    else:
        print(f"{tag} exists")
        return
    if source == "registry":
        # Debian publishes its images anew every few weeks; one that is here already would be taken as it is.
        print(f"pull debian:{suite}-slim", flush=True)
        client.pull("debian", tag=f"{suite}-slim", platform=platform)
    draft = f"{tag}-draft"  # a run that was cut off leaves no tag without its label
    bootstrap.make_base(suite, source, draft, mirror, platform)
    recipe = f'FROM {draft}\nLABEL {BASE_DATE}="{edition}"\n'.encode()
    for answer in client.build(fileobj=io.BytesIO(recipe), tag=tag, platform=platform, rm=True, decode=True):
        if "error" in answer:
            raise BaseImageError(f"the Docker Engine could not label it: {answer['error'].strip()}")
    client.remove_image(draft, noprune=True)


if __name__ == "__main__":
    sys.exit(main())
