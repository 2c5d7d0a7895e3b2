"""Certificates of a stack's web services, for a deployment that changes nothing else.

No container is replaced for them, so the engines have nothing to do.
"""

from components.keeper import docker_socket, engine_hostname
from config.platform import KEY
from preflight.host_facts import outside_addresses
from stack import tls
from stack.state import HostFiles, stack_folder
from ws.stack_settings import StackSettings


def renew(configured: StackSettings) -> None:
    """Writes the certificate that is due, as the program does; nginx takes it up. Raises `SettingsError`."""
    settings, identity = configured.platform, configured.identity
    tls.certificate_folder(
        settings,
        HostFiles(folder=stack_folder(identity), dry_run=False),
        identity,
        site=tls.load_site(settings, stack_file=configured.file.name, key=KEY),
        hostname=engine_hostname(docker_socket()),
        own_addresses=outside_addresses(),
    )
