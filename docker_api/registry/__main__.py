"""``python -m docker_api.registry``: names and pushes images after a build.

tag IMAGE TAG [--push]   adds a tag to a local image, and pushes it
index TAG MEMBER…        pushes an index of images for several platforms, which are in the same repository
"""

import argparse
import sys

from docker_api.api import DockerApi, DockerError
from docker_api.registry import RegistryError, index, push, tag_image


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docker_api.registry", description="Name and push images.")
    commands = parser.add_subparsers(dest="command", required=True)
    tag = commands.add_parser("tag", help="add a tag to a local image")
    tag.add_argument("image", help="ID or name of the image")
    tag.add_argument("tag", help="tag to add")
    tag.add_argument("--push", action="store_true", help="push the image under that tag")
    several = commands.add_parser("index", help="push an index of images for several platforms")
    several.add_argument("tag", help="name of the index")
    several.add_argument("members", nargs="+", metavar="member", help="an image for one platform, already pushed")
    options = parser.parse_args(arguments)
    try:
        if options.command == "index":
            _say(f"{options.tag} is {index(options.tag, options.members)}")
        else:
            api = DockerApi()
            tag_image(api, options.image, options.tag)
            if options.push:
                _say(f"{options.tag} is {push(api, options.tag, _say)}")
    except (DockerError, RegistryError) as error:
        _say(f"{options.tag}: {error}")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
