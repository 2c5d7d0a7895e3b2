"""TranscriptionFrontend: the page of the transcription service.

Owns the container: nginx, which serves the page and passes ``/v1`` on to the service ``transcription``. Holds no token,
no media and no state of its own; who may call is the service's decision. It starts without the service, and says so.
"""

from dataclasses import dataclass

import pulumi

from components.docker import ContainerSpec, answers
from components.environment import Environment
from components.service import Host, Service, extra_mounts
from config.ports import TRANSCRIPTION_FRONTEND
from config.services import TranscriptionFrontendSettings


@dataclass(frozen=True, kw_only=True)
class TranscriptionFrontendArgs:
    """Plain values, already validated."""

    settings: TranscriptionFrontendSettings
    host: Host
    image: pulumi.Input[str]


class TranscriptionFrontend(Service):
    """**Pulumi type** ``cslr:transcription_frontend:TranscriptionFrontend``. Ready when nginx answers."""

    def __init__(self, name: str, args: TranscriptionFrontendArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(
            "cslr:transcription_frontend:TranscriptionFrontend",
            name,
            deployed_on=args.host,
            port=TRANSCRIPTION_FRONTEND,
            opts=opts,
        )
        settings = args.settings
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=("nginx", "-c", "/etc/cslr/nginx.conf"),
                healthcheck=answers(TRANSCRIPTION_FRONTEND, "/ping", start_period=30),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(user=settings.env),
                ports=self._publish(TRANSCRIPTION_FRONTEND, settings.port),
                mounts=extra_mounts(settings.volumes),
                stop_signal="SIGQUIT",  # nginx ends the calls that it serves first
            )
        )
