"""A stand-in for the program that only builds the images of a cluster's services and deploys nothing.

Its outputs are the images' IDs, and where bases come from. `images.py` makes it the ``__main__.py`` of a copy.
"""

import sys

import pulumi

from components.image_set import ImageSet, ImageSetArgs
from config.load import config_value, load
from program import sources_of
from stack.identity import StackIdentity
from stack.stack import Stack

stack = Stack(
    identity=StackIdentity(project=pulumi.get_project(), stack=pulumi.get_stack()),
    config=pulumi.Config().get,
    dry_run=pulumi.runtime.is_dry_run(),
    python=sys.executable,
)
settings = load(config_value(stack.config("platform")), stack_file=stack.file)
sources = sources_of(stack, settings.images, torch=settings.torch)
images = ImageSet(
    ImageSetArgs(stack=stack.identity.stack, settings=settings, sources=sources, python=stack.python),
    pulumi.ResourceOptions(),
)
pulumi.export("services", [images.image_id(service) for service in settings.services()])
pulumi.export("bases", sources.bases)
