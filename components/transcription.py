"""Transcription: speech of audio and video as text, subtitles and ELAN tiers.

Owns the container and the volume with uploads, jobs and results. Works on the container's CPUs alone: a GPU that it
took would be one that Ray believes to be free.
"""

from dataclasses import dataclass

import pulumi

from components.docker import ContainerSpec, Healthcheck
from components.environment import Environment
from components.service import Host, Service, extra_mounts
from config.ports import TRANSCRIPTION
from config.services import TranscriptionSettings
from contracts import transcription
from contracts.document import SETTINGS_VARIABLE, dump
from stack.mount import Mount
from stack.programs import run_module, run_python

TARGETS = {"dataset": "/media/dataset", "models": "/models"}
# Threads that wait for each other spin by default, which starves all others where cores are shared.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True, kw_only=True)
class TranscriptionArgs:
    """Plain values, already validated."""

    settings: TranscriptionSettings
    host: Host
    image: pulumi.Input[str]
    tracking_uri: str | None  # MLflow


class Transcription(Service):
    """**Pulumi type** ``cslr:transcription:Transcription``. Ready when its health endpoint answers."""

    def __init__(self, name: str, args: TranscriptionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:transcription:Transcription", name, deployed_on=args.host, port=TRANSCRIPTION, opts=opts)
        settings, host = args.settings, args.host
        program = transcription.TranscriptionSettings(
            stack=host.identity.stack,
            threads=max(1, int(settings.cpus)),
            default_model=settings.model,
            tracking_uri=args.tracking_uri,
            port=TRANSCRIPTION,
        )
        self._run(
            ContainerSpec(
                service=name,
                image=args.image,
                command=run_module("entrypoints.transcription.server"),
                healthcheck=Healthcheck(
                    command=run_python("http_health.py", f"http://127.0.0.1:{TRANSCRIPTION}/health"),
                    interval=3,
                    start_period=60,
                ),
                cpus=settings.cpus,
                memory=settings.memory,
                user=settings.user,
                env=Environment(defaults=WAITING, user=settings.env, required={SETTINGS_VARIABLE: dump(program)}),
                ports=self._publish(TRANSCRIPTION, settings.port),
                mounts=(
                    self._data(settings.data, "data", "/data"),
                    *host.module("entrypoints.transcription.server"),
                    host.program("http_health.py"),
                    host.secrets.mount("transcription-token", user=settings.user),
                    *(
                        Mount(source=location, target=TARGETS[key], read_only=True, bind=location.startswith("/"))
                        for key, location in settings.read_locations.items()
                        if location
                    ),
                    *extra_mounts(settings.volumes),
                ),
            )
        )
