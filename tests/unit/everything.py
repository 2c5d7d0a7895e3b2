"""A stack file that asks for everything at once, for one host and for several."""

from pathlib import Path
from typing import Any

from testing.harness import CLUSTER, LOGIN, PROJECT, merged

DOCKERFILE = str((Path(__file__).parent / "config" / "own_dockerfile" / "Dockerfile").relative_to(PROJECT))
OWN = {"image": {"source": "dockerfile", "path": DOCKERFILE}}
LONGEST = "p" + "-9" * 15 + "z"  # as long as a person's name can be
# Names that read like those of other things here.
PEOPLE: dict[str, Any] = {
    "zoe": {"memory": "8g", "port": 9000},
    LONGEST: None,
    "runtime": {"cpus": 1},
    "notebooks": None,
    "container": None,
}
NOTEBOOKS = {f"marimo-{name}" for name in PEOPLE}
EVERYTHING: dict[str, Any] = {
    "gpu": {"enabled": True},
    "network": {"names": ["gpuhost.example.org"], "proxy": "http://proxy.example.org:3128"},
    "marimo": {
        "users": PEOPLE,
        "idle": "2h",
        "base_url": "/notebooks",
        "env_secrets": ["HF_TOKEN"],
        "volumes": [{"source": "cslr-dev-marimo-notebooks", "target": "/workspace/shared"}],
        **OWN,
    },
    "ray": {"checkpoints": "s3://bucket/lab", "cpu": OWN, "gpu": {"enabled": True, "torch": False, **OWN}},
    **{name: {"enabled": True} for name in ("exporter", "metrics", "transcription", "transcription_frontend")},
}
DATASET = {"phoenix": {"source": "/srv/datasets/phoenix"}}
SINGLE = merged(EVERYTHING, {"datasets": DATASET, "queue": {"enabled": True}}, LOGIN)
HELD_BY_ALPHA = {**CLUSTER, "datasets": {"phoenix": {**DATASET["phoenix"], "hosts": ["alpha"]}}}
SECRETS = {"envSecrets": '{"HF_TOKEN": "hf_0123456789"}'}
