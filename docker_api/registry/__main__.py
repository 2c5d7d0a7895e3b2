"""``python -m docker_api.registry``: what an engine's commands do with images that are built already.

tag IMAGE TAG [--push]   gives an image here a further name, and pushes it under that
index TAG MEMBER…        puts an index of images for several platforms, which were pushed to the same repository
"""

import argparse
import sys

from docker_api.api import DockerApi, DockerError
from docker_api.registry import RegistryError, index, push, tag_image


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m docker_api.registry", description="Name and push images.")
    commands = parser.add_subparsers(dest="command", required=True)
    tag = commands.add_parser("tag", help="give an image here a further name")
    tag.add_argument("image", help="its ID or a name that it has")
    tag.add_argument("tag", help="the further name")
    tag.add_argument("--push", action="store_true", help="push it under that name")
    several = commands.add_parser("index", help="put an index of images for several platforms into their registry")
    several.add_argument("tag", help="its name")
    several.add_argument("members", nargs="+", metavar="member", help="an image for one platform, pushed already")
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
