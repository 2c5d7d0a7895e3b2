"""Stack config: valid values, and one clear error with a remedy for every mistake."""

import copy
import datetime
import math
import shlex
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import platform_rules
from config import types as vocabulary
from config.load import config_value, load
from config.platform import PlatformSettings
from config.platform_rules import FORMER_ENVIRONMENT
from config.problems import Set, SettingsError, dotted
from config.services import SERVICES
from images.variants import VARIANTS
from testing.strategies import ANYTHING, KEYS

FILE = "Pulumi.dev.yaml"
PULL = {"source": "pull", "reference": "registry.example.org/x:1"}


def refusal(raw: object) -> str:
    """The text of the error that `raw` causes."""
    with pytest.raises(SettingsError) as caught:
        load(raw, stack_file=FILE)
    return str(caught.value)


def jobs_on_ray(*, cpus: float = 1, gpus: float = 0, **more: Any) -> dict[str, Any]:
    """A stack whose transcription jobs run on Ray."""
    jobs = {"run_on": "ray", "cpus": cpus, "gpus": gpus}
    return {
        "transcription": {"enabled": True, "jobs": jobs},
        "images": {"packages": ["faster-whisper"]},
        **more,
    }


def transcription_on_gpus(**more: Any) -> dict[str, Any]:
    """A stack whose transcription service works on GPUs, with `more` in place of what it needs for that."""
    needs = {"gpu": {"enabled": True}, "images": {"cuda": "12.8.1", "python": "3.13"}}
    return {"transcription": {"enabled": True, "variant": "cuda"}, **needs, **more}


def below(path: str, value: object) -> object:
    """`value` as a stack config that sets only the key `path`."""
    for step in reversed(path.split(".")):
        value = {step: value}
    return value


class TestEmptyObject:
    def test_is_a_valid_dev_stack(self):
        settings = load({}, stack_file=FILE)
        assert settings.services() == (
            "firewall", "redis", "postgres", "mlflow", "health", "ray-cpu", "marimo", "keeper"
        )  # fmt: skip
        assert settings.head_candidates == ("ray-cpu",)
        assert list(settings.ray_nodes) == ["ray-cpu"]

    def test_and_none_and_empty_sections_are_the_same(self):
        sections = dict.fromkeys(PlatformSettings.model_fields)
        assert load({}, stack_file=FILE) == load(None, stack_file=FILE) == load(sections, stack_file=FILE)

    def test_publishes_the_ports_that_the_platform_always_had(self):
        settings = load({"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}, stack_file=FILE)
        assert {dotted(path): port for path, port in settings.published_ports()} == {
            "health.port": 8888,
            "ray.cpu.ports.dashboard": 8265,
            "ray.cpu.ports.client": 10001,
            "ray.gpu.ports.dashboard": 8266,
            "ray.gpu.ports.client": 10002,
            "redis.port": 6381,
            "mlflow.port": 5000,
            "marimo.port": 8080,
        }

    def test_gives_every_service_more_than_it_needs(self):
        settings = load({}, stack_file=FILE)
        for name in SERVICES:
            assert settings.service(name).memory > vocabulary.parse_quantity(platform_rules.MINIMUM_MEMORY[name])

    def test_names_a_variant_that_exists(self):
        assert load({}, stack_file=FILE).variant in VARIANTS


class TestValues:
    @pytest.mark.parametrize(
        ("written", "size"),
        [("8g", 2**33), ("512m", 2**29), ("1.5G", 3 * 2**29), ("512MiB", 2**29), (2**31, 2**31), (str(2**31), 2**31)],
    )
    def test_memory_is_a_quantity_in_dockers_notation(self, written, size):
        assert load({"redis": {"memory": written}}, stack_file=FILE).redis.memory == size

    @given(st.integers(1, vocabulary.LARGEST_MEMORY))
    def test_a_formatted_quantity_means_the_same(self, size):
        assert vocabulary.parse_quantity(vocabulary.format_quantity(size)) == size

    @pytest.mark.parametrize("written", [1.5, "1.5", "1.50"])
    def test_cpus_may_be_text_as_pulumi_config_set_writes_them(self, written):
        assert load({"marimo": {"cpus": written}}, stack_file=FILE).marimo.cpus == 1.5

    @pytest.mark.parametrize("written", [3.14, "3.14"])
    def test_python_may_lack_its_quotes(self, written):
        assert load({"images": {"python": written}}, stack_file=FILE).images.python == "3.14"

    def test_numbers_in_env_become_text(self):
        assert load({"redis": {"env": {"THREADS": 4}}}, stack_file=FILE).redis.env == {"THREADS": "4"}

    @pytest.mark.parametrize(
        ("written", "devices"), [("all", "all"), ([0, "1"], ("0", "1")), (["GPU-1a-2b"], ("GPU-1a-2b",))]
    )
    def test_gpu_devices_are_all_or_a_list(self, written, devices):
        assert load({"gpu": {"devices": written}}, stack_file=FILE).gpu.devices == devices

    def test_data_lives_in_a_volume_or_a_folder(self):
        settings = load({"redis": {"data": "kept"}, "marimo": {"notebooks": "/srv/notebooks"}}, stack_file=FILE)
        assert (settings.redis.location, settings.marimo.location) == ("kept", "/srv/notebooks")

    def test_settings_cannot_change_afterwards(self):
        with pytest.raises(ValueError, match="frozen"):
            load({}, stack_file=FILE).redis.port = 1


class TestOneKey:
    """Each key alone: the error names the file, the key, the reason, and a remedy that would be accepted."""

    @pytest.mark.parametrize(
        ("path", "value", "reason"),
        [
            ("network.subnet", "172.28.0.1/16", "the network itself is 172.28.0.0/16"),
            ("network.subnet", "8.8.0.0/16", "'8.8.0.0/16' is not private"),
            ("network.subnet", "10.0.0.0/8", "must be between /12 and /27"),
            ("network.subnet", "10.0.0.0/28", "must be between /12 and /27"),
            ("network.subnet", "fd00::/64", "is not an IPv4 network"),
            ("network.subnet", 172, "172 must be text"),
            ("network.name", "host", "is not a name for a Docker network"),
            ("network.bind_address", "localhost", "'localhost' is not an IPv4 address"),
            ("network.bind_address", "224.0.0.1", "is an address that no host can have"),
            ("gpu.enabled", "yes", "'yes' must be true or false"),
            ("gpu.devices", 0, "0 must be all, or a list"),
            ("gpu.devices", [0, 0], "names one device twice"),
            ("gpu.devices", ["first"], "neither a device number nor a UUID"),
            ("images.torch", "gpu", "'gpu' must be 'auto', 'cpu' or 'cuda'"),
            ("images.registry", "https://registry.example.org", "is not a prefix of an image name"),
            ("images.registry", "registry.example.org/CSLR", "lower case"),
            ("images.parallel_builds", 0, "0 must be at least 1"),
            ("images.mirrors.pypi", "ftp://mirror", "'ftp://mirror' is not an http or https address"),
            ("ray.health_url", "health:8888", "is not an http or https address"),
            ("ray.health_timeout", 0, "must be a number of seconds from 0.1 to 60"),
            ("ray.health_timeout", math.nan, "must be a number of seconds from 0.1 to 60"),
            ("ray.head_address", "192.168.1.10", "must be host:port"),
            ("ray.head_address", "192.168.1.10:99999", "must be host:port"),
            ("redis.port", 99999, "99999 must be at most 65535"),
            ("redis.port", 0, "0 must be at least 1"),
            ("redis.memory", "lots", "'lots' must be a quantity in Docker's notation, such as 8g or 512m"),
            ("redis.memory", 10**30, "must be more than 0 and at most 64t"),
            ("redis.cpus", 1.234, "must have at most two decimals"),
            ("redis.cpus", math.inf, "must be a number of CPU cores"),
            ("redis.user", "root", "must be two numbers"),
            ("redis.user", "0:0", "never run as root"),
            ("redis.data", "./data", "a relative path would depend on where the command is run"),
            ("redis.data", "/srv/../etc", "must be a plain absolute path"),
            ("mlflow.artifacts", "artifacts/here", "neither a folder's absolute path nor a volume's name"),
            ("marimo.notebooks", "~/notebooks", "neither a folder's absolute path nor a volume's name"),
            ("redis.image.reference", "Redis:7", "is not an image reference"),
            ("redis.image.reference", datetime.date(2026, 1, 1), "must be text; put it in quotes"),
        ],
    )
    def test_is_refused_with_reason_and_remedy(self, path, value, reason):
        text = refusal(below(path, value))
        assert text.startswith(f"{FILE}: cslr:platform.{path}")
        assert reason in text
        assert f"set {path} " in text

    @pytest.mark.parametrize("value", [[], "text", 3, True, math.nan])
    def test_a_section_must_be_a_mapping(self, value):
        assert f"{FILE}: cslr:platform.redis: " in refusal({"redis": value})
        assert "must be a mapping" in refusal({"redis": value})
        assert "An empty object is valid" in refusal(value)

    def test_an_environment_variable_has_a_valid_name(self):
        text = refusal({"redis": {"env": {"2FAST": "x"}}})
        assert "cslr:platform.redis.env[\"2FAST\"]: '2FAST' is not a valid name for an environment variable" in text

    def test_an_environment_variable_is_not_a_boolean(self):
        assert "cslr:platform.redis.env.DEBUG: true must be text: put it in quotes" in refusal(
            {"redis": {"env": {"DEBUG": True}}}
        )

    def test_a_volume_has_a_source_and_a_target(self):
        text = refusal({"marimo": {"volumes": [{"source": "data"}]}})
        assert f"{FILE}: cslr:platform.marimo.volumes[0].target: is missing" in text
        assert "Give marimo.volumes[0] the key target." in text

    def test_an_example_is_itself_valid(self):
        """What an error says to set would be accepted: no error sends people into the next one."""
        with pytest.raises(SettingsError) as caught:
            load({"network": {"subnet": "10.1.2.3/16"}, "redis": {"memory": [], "cpus": 0.001}}, stack_file=FILE)
        for problem in caught.value.problems:
            command = problem.commands[0]
            assert isinstance(command, Set)
            load(below(dotted(command.path), command.value), stack_file=FILE)


class TestUnknownKey:
    @pytest.mark.parametrize(
        ("raw", "key", "guess"),
        [
            ({"gpu": {"enable": True}}, "gpu.enable", "enabled"),
            ({"redis": {"memroy": "1g"}}, "redis.memroy", "memory"),
            ({"ray": {"head-whitelist": []}}, "ray.head-whitelist", "head_whitelist"),
            ({"ray": {"cpu": {"ports": {"gsc": 1}}}}, "ray.cpu.ports.gsc", "gcs"),
            ({"subnet": "10.0.0.0/16"}, "subnet", "network.subnet"),
            (
                {"marimo": {"volumes": [{"source": "a", "target": "/a", "readonly": True}]}},
                "marimo.volumes[0].readonly",
                "read_only",
            ),
        ],
    )
    def test_is_answered_with_what_was_probably_meant(self, raw, key, guess):
        text = refusal(raw)
        assert f"{FILE}: cslr:platform.{key}: unknown key." in text
        assert f"Did you mean {guess}?" in text
        assert f"ws unset {shlex.quote(key)} -s dev" in text

    def test_or_with_all_that_are_known(self):
        assert "Known here: enabled, devices." in refusal({"gpu": {"xyzzy": 1}})

    def test_that_is_no_text_is_explained(self):
        assert "the name of a key must be text" in refusal({"redis": {8080: 1}})


class TestCrossChecks:
    """Keys that are each valid, but not together."""

    @pytest.mark.parametrize(
        ("raw", "key", "reason", "remedy"),
        [
            pytest.param(
                {"redis": {"port": 6379}, "ray": {"cpu": {"ports": {"gcs": 6379}}}},
                "ray.cpu.ports.gcs",
                "6379 is already redis.port.",
                "ws set ray.cpu.ports.gcs 6380",
                id="redis-on-the-port-of-ray",
            ),
            pytest.param(
                {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}, "redis": {"port": 8266}},
                "redis.port",
                "8266 is already ray.gpu.ports.dashboard.",
                "ws set redis.port 6381",
                id="redis-on-the-port-of-ray-gpu",
            ),
            pytest.param(
                {"postgres": {"port": 5000}},
                "postgres.port",
                "5000 is already mlflow.port.",
                "ws set postgres.port 5001",
                id="published-postgres-on-the-port-of-mlflow",
            ),
            pytest.param(
                {"ray": {"cpu": {"ports": {"client": 8265}}}},
                "ray.cpu.ports.client",
                "8265 is already ray.cpu.ports.dashboard.",
                "ws set ray.cpu.ports.client 10001",
                id="two-ports-of-one-node",
            ),
            pytest.param(
                {"mlflow": {"memory": "200m"}},
                "mlflow.memory",
                "200m is less than the 768m that mlflow needs",
                "ws set mlflow.memory 2g",
                id="too-little-memory",
            ),
            pytest.param(
                {"ray": {"head_whitelist": ["ray-cpu", "ray-gpuu"]}},
                "ray.head_whitelist[1]",
                "'ray-gpuu' is not a Ray node of this platform",
                "Did you mean ray-gpu?",
                id="whitelist-names-an-unknown-node",
            ),
            pytest.param(
                {"ray": {"head_whitelist": ["ray-cpu", "ray-cpu"]}},
                "ray.head_whitelist[1]",
                "ray-cpu is listed twice",
                "ws unset 'ray.head_whitelist[1]'",
                id="whitelist-names-a-node-twice",
            ),
            pytest.param(
                {"ray": {"head_whitelist": ["ray-gpu"]}},
                "ray.head_whitelist",
                "it names no enabled node (ray-cpu), so the Ray cluster would never have a head",
                '["ray-cpu"]',
                id="nobody-may-be-head",
            ),
            pytest.param(
                {"images": {"python": "3.13"}},
                "images.python",
                "CUDA 13.1.1 with Python 3.13 is possible (torch 2.13.0, built for CUDA 13.0), but its",
                "Or add the pair to images/versions.toml, and run: make lock",
                id="pair-without-lock",
            ),
            pytest.param(
                {"images": {"cuda": "11.8.0"}},
                "images.cuda",
                "no torch that runs on CUDA 11.8.0 is on the package index",
                "Possible pairs, the nearest first: CUDA 13.1.1 with Python 3.14;",
                id="unknown-cuda",
            ),
            pytest.param(
                {"images": {"python": 3.1}},
                "images.python",
                "torch for CUDA 13.0 is built for Python 3.10 to 3.14, not for 3.1",
                "ws set images.cuda 13.1.1 images.python 3.14",
                id="python-3.10-without-quotes",
            ),
            pytest.param(
                {"ray": {"gpu": {"enabled": True}}},
                "ray.gpu.enabled",
                "the node ray-gpu needs GPUs, but gpu.enabled is false",
                "ws set gpu.enabled true",
                id="gpu-service-without-gpus",
            ),
            pytest.param(
                {"redis": {"image": {"source": "pull"}}},
                "redis.image.reference",
                "is missing, but the image of redis is to be pulled",
                "ws set redis.image.source build",
                id="pull-without-reference",
            ),
            pytest.param(
                {"redis": {"image": {"reference": "redis:7"}}},
                "redis.image.reference",
                "redis:7 would be ignored",
                "ws set redis.image.source pull",
                id="reference-without-pull",
            ),
            pytest.param(
                {"postgres": {"enabled": False}},
                "postgres.enabled",
                "postgres is disabled, but mlflow needs it",
                "ws set mlflow.enabled false",
                id="mlflow-without-postgres",
            ),
            pytest.param(
                {"transcription_frontend": {"enabled": True}},
                "transcription.enabled",
                "transcription is disabled, but transcription-frontend needs it",
                "ws set transcription.enabled true",
                id="page-without-its-service",
            ),
            pytest.param(
                {"queue": {"enabled": True}, "postgres": {"enabled": False}, "mlflow": {"enabled": False}},
                "postgres.enabled",
                "postgres is disabled, but queue needs it: the queue keeps its jobs in Postgres",
                "ws set postgres.enabled true",
                id="queue-without-postgres",
            ),
            pytest.param(
                {"queue": {"enabled": True}, "ray": {"cpu": {"enabled": False}}},
                "queue.enabled",
                "this host runs no Ray node",
                "ws set ray.cpu.enabled true",
                id="queue-without-a-cluster",
            ),
            pytest.param(
                {"queue": {"enabled": True, "users": {"anna": {"tell": [{"kind": "slack", "variable": "ANNA"}]}}}},
                "queue.users.anna.tell[0].variable",
                "ANNA is not in queue.env_secrets",
                "ws set queue.env_secrets '[\"ANNA\"]'",
                id="queue-without-the-address-of-a-webhook",
            ),
            pytest.param(
                {"queue": {"enabled": True, "users": {"anna": {}, "Anna": {}}}},
                "queue.users.Anna",
                "differs from anna by case only",
                "queue.users.Anna",
                id="queue-with-a-user-twice",
            ),
            pytest.param(
                {
                    "queue": {
                        "enabled": True,
                        "users": {"anna": {"tell": [{"kind": "mail", "address": "anna@example.org"}]}},
                    }
                },
                "queue.users.anna.tell[0]",
                "is mail, but queue.mail names no server",
                "smtp.example.org:587",
                id="queue-without-a-mail-server",
            ),
            pytest.param(
                jobs_on_ray(images={"packages": ["einops"]}),
                "images.packages",
                "lacks faster-whisper, without which the Ray nodes cannot transcribe",
                'ws set images.packages \'["einops", "faster-whisper"]\'',
                id="jobs-on-ray-without-their-package",
            ),
            pytest.param(
                jobs_on_ray(ray={"cpu": {"enabled": False}}),
                "transcription.jobs.run_on",
                "this host runs no Ray node",
                "ws set transcription.jobs.run_on container",
                id="jobs-on-ray-without-a-node",
            ),
            pytest.param(
                jobs_on_ray(ray={"head_address": "192.168.1.10:6379"}),
                "transcription.jobs.run_on",
                "nodes of other hosts cannot see this host's media",
                "ws set transcription.jobs.run_on container",
                id="jobs-on-ray-of-several-hosts",
            ),
            pytest.param(
                jobs_on_ray(cpus=4),
                "transcription.jobs.cpus",
                "4 is more than the 2 that ray-cpu offers, so no file would begin",
                "ws set transcription.jobs.cpus 2",
                id="jobs-on-ray-that-no-node-has-room-for",
            ),
            pytest.param(
                jobs_on_ray(gpus=0.25),
                "transcription.jobs.gpus",
                "no Ray node of this host offers GPUs",
                "ws set ray.gpu.enabled true",
                id="jobs-on-gpus-without-a-node",
            ),
            pytest.param(
                jobs_on_ray(gpus=0.25, gpu={"enabled": True}, ray={"gpu": {"enabled": True}}),
                "transcription.jobs.gpus",
                "faster-whisper needs the libraries of CUDA 12, and the images have CUDA 13.1.1",
                "ws set images.cuda 12.8.1",
                id="jobs-on-gpus-with-other-libraries",
            ),
            pytest.param(
                jobs_on_ray(
                    gpus=1,
                    gpu={"enabled": True},
                    ray={"gpu": {"enabled": True, "torch": False}},
                    images={"packages": ["faster_whisper==1.2.1"], "cuda": "12.8.1"},
                ),
                "transcription.jobs.gpus",
                "the images without PyTorch have no CUDA libraries",
                "ws set ray.gpu.torch true",
                id="jobs-on-gpus-without-libraries",
            ),
            pytest.param(
                jobs_on_ray(ray={"cpu": {"user": "2000:2000"}}),
                "ray.cpu.user",
                "2000:2000 is not 1000:1000, the user of transcription",
                "ws set transcription.user 2000:2000",
                id="jobs-on-ray-of-another-user",
            ),
            pytest.param(
                below("transcription.jobs.gpus", 2),
                "transcription.jobs.gpus",
                "must be a share from 0 to 1, such as 0.25",
                "ws set transcription.jobs.gpus",
                id="more-than-one-gpu-for-a-file",
            ),
            pytest.param(
                transcription_on_gpus(gpu={}),
                "transcription.variant",
                "is cuda, but gpu.enabled is false",
                "ws set gpu.enabled true",
                id="transcription-on-gpus-without-gpus",
            ),
            pytest.param(
                transcription_on_gpus(ray={"gpu": {"enabled": True}}),
                "transcription.variant",
                "would be one that the node ray-gpu believes to be free",
                "ws set ray.gpu.enabled false",
                id="transcription-on-the-gpus-of-ray",
            ),
            pytest.param(
                transcription_on_gpus(images={"cuda": "13.1.1"}),
                "transcription.variant",
                "CTranslate2 calls cuBLAS 12, and the images have CUDA 13.1.1",
                "ws set images.cuda 12.8.1",
                id="transcription-on-gpus-of-cuda-13",
            ),
            pytest.param(
                transcription_on_gpus(images={"cuda": "12.8.1", "python": "3.14", "torch": "cpu"}),
                "transcription.variant",
                "is cuda, but images.torch is cpu",
                "ws set images.torch cuda",
                id="transcription-on-gpus-without-cuda",
            ),
            pytest.param(
                {"redis": {"enabled": False}},
                "redis.enabled",
                "redis is disabled, but ray-cpu needs it",
                "ws set redis.enabled true",
                id="head-without-redis",
            ),
            pytest.param(
                {"redis": {"data": "kept"}, "postgres": {"data": "kept"}},
                "postgres.data",
                "kept already holds redis.data",
                "ws unset postgres.data",
                id="two-services-in-one-volume",
            ),
            pytest.param(
                {"marimo": {"volumes": [{"source": "a", "target": "/tmp/a"}]}},
                "marimo.volumes[0].target",
                "/tmp/a is taken by /tmp, which belongs to the platform",
                "ws set 'marimo.volumes[0].target' /mnt/volume0",
                id="reserved-target",
            ),
            pytest.param(
                {"marimo": {"volumes": [{"source": "a", "target": "/a"}, {"source": "b", "target": "/a/"}]}},
                "marimo.volumes[1].target",
                "/a is taken by volumes[0]",
                "ws set 'marimo.volumes[1].target' /mnt/volume1",
                id="two-volumes-on-one-target",
            ),
            pytest.param(
                {"marimo": {"volumes": [{"source": "a", "target": "/workspace/notebooks"}]}},
                "marimo.volumes[0].target",
                "/workspace/notebooks is taken by the service's own notebooks",
                "ws set 'marimo.volumes[0].target' /mnt/volume0",
                id="target-of-the-services-own-data",
            ),
            pytest.param(
                {"marimo": {"volumes": [{"source": "/var/run/docker.sock", "target": "/docker.sock"}]}},
                "marimo.volumes[0].source",
                "the Docker socket would make every program in the container root on this host",
                "ws unset 'marimo.volumes[0]'",
                id="docker-socket",
            ),
            pytest.param(
                {"marimo": {"volumes": [{"source": "//run/./docker.sock/", "target": "/docker.sock"}]}},
                "marimo.volumes[0].source",
                "the Docker socket would make every program in the container root on this host",
                "ws unset 'marimo.volumes[0]'",
                id="docker-socket-spelt-otherwise",
            ),
            pytest.param(
                {"marimo": {"notebooks": "/var/run/"}},
                "marimo.notebooks",
                "the Docker socket would make every program in the container root on this host",
                "ws unset marimo.notebooks",
                id="folder-of-the-docker-socket",
            ),
            pytest.param(
                {"marimo": {"volumes": [{"source": "a", "target": "/opt"}]}},
                "marimo.volumes[0].target",
                "/opt is taken by /opt/venv, which belongs to the platform",
                "ws set 'marimo.volumes[0].target' /mnt/volume0",
                id="target-that-hides-the-platforms",
            ),
            pytest.param(
                {"redis": {"data": "/srv/a"}, "postgres": {"data": "//srv/./a"}},
                "postgres.data",
                "/srv/a already holds redis.data",
                "ws unset postgres.data",
                id="one-folder-spelt-in-two-ways",
            ),
            pytest.param(
                {"ray": {"cpu": {"env": {"RAY_AUTH_MODE": "disabled"}}}},
                "ray.cpu.env.RAY_AUTH_MODE",
                "RAY_AUTH_MODE is set by the platform",
                "ws unset ray.cpu.env.RAY_AUTH_MODE",
                id="environment-of-the-platform",
            ),
            pytest.param(
                {"ray": {"cpu": {"env": {"USE_CONDA_ENV": "1"}}}},
                "ray.cpu.env.USE_CONDA_ENV",
                "the Python of the image is found by itself",
                "ws unset ray.cpu.env.USE_CONDA_ENV",
                id="environment-of-the-predecessor",
            ),
            pytest.param(
                {"ray": {"cpu": {"env": {"HEAD_ADDRESS": "192.168.1.10"}}}},
                "ray.cpu.env.HEAD_ADDRESS",
                "the key ray.head_address says where a head elsewhere is",
                "ws set ray.head_address 192.168.1.10:6379",
                id="head-address-of-the-predecessor",
            ),
        ],
    )
    def test_name_file_key_reason_and_remedy(self, raw, key, reason, remedy):
        text = refusal(raw)
        assert f"{FILE}: cslr:platform.{key}: " in text
        assert reason in text
        assert remedy in text

    def test_are_all_reported_at_once(self):
        text = refusal({"redis": {"port": 8265, "memory": "8m"}, "images": {"python": "3.13"}})
        assert text.count(f"{FILE}: ") == 3


class TestEnvironmentOfThePredecessor:
    @pytest.mark.parametrize("variable", FORMER_ENVIRONMENT)
    def test_is_refused_where_ray_would_have_read_it(self, variable):
        assert variable in refusal({"ray": {"cpu": {"env": {variable: "x"}}}})

    @pytest.mark.parametrize("variable", FORMER_ENVIRONMENT)
    def test_is_anybodys_elsewhere(self, variable):
        load({"mlflow": {"env": {variable: "x"}}}, stack_file=FILE)


class TestDisabledService:
    def test_has_no_port(self):
        load({"marimo": {"enabled": False, "port": 5000}}, stack_file=FILE)

    def test_may_have_too_little_memory(self):
        load({"marimo": {"enabled": False, "memory": "64m"}}, stack_file=FILE)

    def test_leaves_a_host_with_services_but_no_ray_node(self):
        settings = load({"ray": {"cpu": {"enabled": False}}, "redis": {"enabled": False}}, stack_file=FILE)
        assert settings.head_candidates == ()


class TestHeadElsewhere:
    def test_needs_neither_redis_nor_a_whitelisted_node_here(self):
        raw = {"ray": {"head_address": "192.168.1.10:6379", "head_whitelist": []}, "redis": {"enabled": False}}
        assert load(raw, stack_file=FILE).head_candidates == ()


FULL = load({"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}, stack_file=FILE).model_dump(mode="json")


def paths(node: dict[str, Any], here: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path in a nested mapping."""
    for key, value in node.items():
        yield (*here, key)
        if isinstance(value, dict):
            yield from paths(value, (*here, key))


PATHS = sorted(paths(FULL))


@st.composite
def mutated(draw):
    """A full, valid config, with some keys replaced, removed or renamed."""
    config = copy.deepcopy(FULL)
    for path in draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=4)):
        node = config
        for step in path[:-1]:
            node = node.get(step, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            value = node.pop(path[-1], None)
            change = draw(st.sampled_from(["replace", "remove", "rename", "swap"]))
            if change == "replace":
                node[path[-1]] = draw(ANYTHING)
            elif change == "rename":
                node[draw(KEYS)] = value
            elif change == "swap":
                node[path[-1]] = copy.deepcopy(FULL[draw(st.sampled_from(sorted(FULL)))])
    return config


def assert_clear(error: SettingsError) -> None:
    """Every problem names file and key and has a way out, and the text can be printed anywhere."""
    lines = str(error).split("\n")
    assert error.problems
    assert all(problem.advice for problem in error.problems)
    assert sum(line.startswith(f"{FILE}: cslr:platform") for line in lines) == len(error.problems)
    assert all(line.isprintable() for line in lines)


class TestNoConfig:
    """Whatever is in a stack file, the outcome is settings or the one clear error."""

    @hypothesis.settings(deadline=None)  # a busy machine is not a failure
    @given(st.one_of(ANYTHING, st.dictionaries(st.sampled_from(sorted(FULL)), ANYTHING), mutated()))
    def test_raises_anything_but_the_clear_error(self, raw):
        try:
            settings = load(raw, stack_file=FILE)
        except SettingsError as error:
            assert_clear(error)
        else:
            assert load(settings.model_dump(mode="json"), stack_file=FILE) == settings

    @hypothesis.settings(deadline=None)
    @given(st.sampled_from(PATHS), st.sampled_from(PATHS), st.integers(1, 65535))
    def test_valid_in_each_key_raises_anything_but_the_clear_error(self, one, other, port):
        config = copy.deepcopy(FULL)
        for path in (one, other):
            node = config
            for step in path[:-1]:
                node = node[step]
            value = node[path[-1]]
            node[path[-1]] = not value if isinstance(value, bool) else port if type(value) is int else value
        try:
            load(config, stack_file=FILE)
        except SettingsError as error:
            assert_clear(error)


class TestTables:
    def test_every_service_has_a_minimum_of_memory(self):
        assert set(platform_rules.MINIMUM_MEMORY) == set(SERVICES)

    def test_every_service_with_data_of_its_own_says_where_it_is_mounted(self):
        settings = PlatformSettings()
        assert set(platform_rules.DATA_TARGETS) == {name for name in SERVICES if settings.service(name).data_key}


class TestTextOfAConfigKey:
    @pytest.mark.parametrize(("text", "value"), [(None, None), ("", None), ('{"gpu": {}}', {"gpu": {}}), ("3", 3)])
    def test_is_read_as_json(self, text, value):
        assert config_value(text) == value

    def test_that_is_no_json_is_left_for_the_settings_to_explain(self):
        with pytest.raises(SettingsError, match="'hello' must be a mapping"):
            load(config_value("hello"), stack_file="Pulumi.dev.yaml")
