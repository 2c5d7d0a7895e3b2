"""The bundle of a stack with these settings, from settings alone."""

from dataclasses import replace
from typing import Any

from images.variants import DEFAULT_VARIANT
from testing.harness import platform_settings
from ws.client.bundle import Bundle
from ws.client.endpoints import QUEUE, Way, endpoints

WITH_QUEUE = {"queue": {"enabled": True}}
OPEN = {"network": {"bind_address": "0.0.0.0"}}
WAY = Way(host="gpuhost")
TOKEN, NOTEBOOKS_TOKEN = "token-of-ray", "token-of-marimo"


def bundle(settings: dict[str, Any] | None = None, way: Way = WAY, **changes: Any) -> Bundle:
    found = endpoints(platform_settings(settings or {}), way)
    made = Bundle(
        stack="dev",
        python=DEFAULT_VARIANT.python,
        packages={"ray": "2.60.0", "mlflow-skinny": "3.17.2"},
        tools={"typer": "1.2.3"} if any(one.name == QUEUE for one in found) else {},
        endpoints=found,
        host=way.host,
        user="me",
        ray_token=TOKEN,
        notebook_token=NOTEBOOKS_TOKEN,
    )
    return replace(made, **changes)
