"""One image of a service, built by itself and named for people: for `docker run`, and to be pushed somewhere.

A stack builds what it runs, and names it by content.
"""

import subprocess
import sys
from collections.abc import Callable

from config.project import FOLDER, version
from docker_api.api import DockerApi
from docker_api.builds import Build, BuildError, build
from images.base.recipe import PLATFORM, base_tag
from images.catalog import CATALOG
from images.dockerfile import declared_args
from stack.sources import ANSWERS_FILE, choose_sources
from stack.state import stack_folder
from ws.environment import inherited
from ws.errors import WsError
from ws.stack_settings import StackSettings

REPOSITORY = "cslr"
NAMES = tuple(name for name, image in CATALOG.items() if not image.depends_on_variant)


def build_image(name: str, settings: StackSettings, say: Callable[[str], None]) -> str:
    """Build an image from the sources of a stack, and return its name. Raises `WsError`."""
    if name not in NAMES:
        raise WsError(f"{name} is no image of a service: they are {', '.join(NAMES)}.\n  All others: ws matrix --list")
    api, image, images = DockerApi(), CATALOG[name], settings.platform.images
    kept = stack_folder(settings.identity) / ANSWERS_FILE
    sources, notes = choose_sources(images, torch="cpu", kept=kept, dry_run=False)
    for note in notes:
        say(note)
    base = base_tag(image.suite, sources.bases, images.mirrors.debian, edition=sources.edition)
    if not api.find(f"/images/{base}/json"):
        say(f"making {base}")
        options = {"--suite": image.suite, "--source": sources.bases, "--tag": base}
        options |= {"--debian-mirror": images.mirrors.debian} if images.mirrors.debian else {}
        options |= {"--edition": sources.edition} if sources.edition else {}
        program = "images.renewed_base" if sources.edition else "images.base.bootstrap"
        command = [sys.executable, "-m", program, *(word for option in options.items() for word in option)]
        if subprocess.run(command, cwd=FOLDER, env=inherited(), check=False).returncode:
            raise WsError(f"{base}, the base of {name}, could not be made: see above.")
    tag = f"{REPOSITORY}/{name}:{version()}"
    known = image.build_args(base=base, pypi_index=images.mirrors.pypi)
    wanted = Build(
        tag=tag,
        context=image.folder,
        dockerfile=image.dockerfile,
        target=image.target,
        args={key: value for key, value in known.items() if key in declared_args(image.dockerfile)},
        platform=PLATFORM,
    )
    try:
        build(api, wanted, say)
    except BuildError as error:
        raise WsError(f"{tag} could not be built: {error}") from error
    return tag
