"""The files of a bundle, from settings alone."""

import ast
import json
import tomllib

from config.project import FOLDER
from contracts import ray_tls
from images.variants import DEFAULT_VARIANT
from testing.client_bundle import NOTEBOOKS_TOKEN, OPEN, TOKEN, WITH_QUEUE, bundle
from testing.harness import merged
from ws.client import queue_program
from ws.client.bundle import ALL_FILES, FACTS, Bundle
from ws.client.laptop.check import CHECKS

HELLO = "python hello.py"
CERTIFICATE = {name: f"PEM of {name}" for name in ray_tls.FILES}


def texts(made: Bundle) -> dict[str, str]:
    return {name: content.text for name, content in made.files().items()}


class TestProject:
    def test_pins_python_and_packages(self):
        project = tomllib.loads(texts(bundle())["pyproject.toml"])["project"]
        assert project["requires-python"] == f"=={DEFAULT_VARIANT.python}.*"
        assert project["dependencies"] == ["ray[client,default]==2.60.0", "mlflow-skinny==3.17.2"]
        assert texts(bundle())[".python-version"] == f"{DEFAULT_VARIANT.python}\n"

    def test_is_no_package_that_uv_would_build(self):
        assert tomllib.loads(texts(bundle())["pyproject.toml"])["tool"]["uv"] == {"package": False}

    def test_names_no_index(self):
        for name, text in texts(bundle()).items():
            assert "index" not in text, name

    def test_the_way_without_uv_installs_the_same(self):
        found = texts(bundle())
        pip = f"python{DEFAULT_VARIANT.python} -m venv .venv && .venv/bin/pip install 'ray[client,default]==2.60.0'"
        assert pip in found["README.md"]
        assert pip in found["check"]


class TestMLflow:
    def test_the_readme_says_how_to_log_in_where_there_are_logins_alone(self):
        assert "~/.mlflow/credentials" in texts(bundle(mlflow_logins=True))["README.md"]
        assert "credentials" not in texts(bundle())["README.md"]


class TestSecrets:
    def test_tokens_are_in_their_own_files_alone_which_only_the_person_reads(self):
        made = bundle().files()
        assert made["ray-token"].text == TOKEN
        assert made["marimo-token"].text == NOTEBOOKS_TOKEN
        for name, content in made.items():
            if name.endswith("-token"):
                assert content.mode == 0o600
            else:
                assert not {TOKEN, NOTEBOOKS_TOKEN} & set(content.text.split()), name

    def test_are_neither_committed_nor_uploaded(self):
        """Ray leaves out of a working_dir what .gitignore names."""
        assert {"/ray-token", "/marimo-token", "/.venv/"} <= set(texts(bundle())[".gitignore"].splitlines())

    def test_are_not_in_what_a_failure_would_print(self):
        assert TOKEN not in repr(bundle())
        assert TOKEN not in repr(bundle().files())

    def test_of_services_that_are_not_reached_are_left_out(self):
        assert "marimo-token" not in bundle({"marimo": {"enabled": False}}).files()
        assert "ray-token" not in bundle({"ray": {"head_address": "10.0.0.7:6379"}}).files()


class TestTunnel:
    def test_leads_to_each_service_and_ends_where_one_cannot_be_forwarded(self):
        text = texts(bundle())["tunnel"]
        assert text.count(" -L ") == 5
        assert "-L 127.0.0.1:8265:127.0.0.1:8265 " in text
        assert "ExitOnForwardFailure=yes" in text
        assert text.rstrip().endswith('"$@" me@gpuhost')

    def test_without_a_user_ssh_decides(self):
        assert texts(bundle(user=None))["tunnel"].rstrip().endswith('"$@" gpuhost')

    def test_an_open_stack_needs_none(self):
        found = texts(bundle(OPEN))
        assert "tunnel" not in found
        assert "./tunnel" not in found["README.md"]
        assert "http://gpuhost:5000" in found["environment"]


class TestWords:
    def test_readme_has_three_steps_in_order(self):
        steps = [line for line in texts(bundle())["README.md"].splitlines() if line.startswith("## ")]
        assert [step[3:5] for step in steps[:3]] == ["1.", "2.", "3."]

    def test_what_the_stack_lacks_is_not_spoken_of(self):
        found = texts(bundle({"mlflow": {"enabled": False}, "postgres": {"enabled": False}}))
        assert "MLFLOW_TRACKING_URI" not in found["environment"]
        without_ray = texts(bundle({"ray": {"head_address": "10.0.0.7:6379"}}))
        assert "RAY_" not in without_ray["environment"]
        assert HELLO not in without_ray["README.md"]

    def test_every_service_has_a_check(self):
        services = json.loads(texts(bundle(WITH_QUEUE))[FACTS])["services"]
        assert {one["name"] for one in services} == set(CHECKS)

    def test_every_file_is_known_as_one_of_a_bundle(self):
        """So that an update removes those that it does not have."""
        assert bundle(WITH_QUEUE, authority="PEM", ray_certificate=CERTIFICATE).files().keys() == ALL_FILES


class TestQueue:
    def test_its_commands_come_with_it_and_with_their_packages(self):
        found = texts(bundle(WITH_QUEUE))
        assert "-L 127.0.0.1:8070:127.0.0.1:8070 " in found["tunnel"]
        assert 'export PATH="$bundle/bin:$PATH"' in found["environment"]
        assert '"typer==1.2.3",' in found["pyproject.toml"]
        assert "ws submit" in found["README.md"]
        assert "typer" not in json.loads(found[FACTS])["packages"], "they need not be the cluster's"

    def test_people_act_under_the_name_that_the_bundle_was_made_for(self):
        assert 'CSLR_USER="${CSLR_USER:-me}"' in texts(bundle(WITH_QUEUE))["bin/ws"]
        assert "CSLR_USER" not in texts(bundle(WITH_QUEUE, user=None))["bin/ws"]

    def test_without_one_nothing_speaks_of_it(self):
        for name, text in texts(bundle()).items():
            assert "ws submit" not in text, name
            assert not name.startswith("bin/")

    def test_the_token_comes_with_it_where_ray_is_elsewhere(self):
        elsewhere = {"ray": {"head_address": "10.0.0.7:6379"}}
        assert "ray-token" in bundle({**WITH_QUEUE, **elsewhere}).files()

    def test_the_program_is_the_same_for_the_same_modules(self):
        assert queue_program.archive() == queue_program.archive()

    def test_every_module_that_is_imported_at_once_is_part_of_it(self):
        """What is imported in a function is run by tests/process/ws/test_client_tunnel.py."""
        known = {name.removesuffix(".py").replace("/", ".") for name in queue_program.MODULES}
        for name in queue_program.MODULES:
            for node in ast.parse((FOLDER / name).read_bytes()).body:
                if isinstance(node, ast.ImportFrom) and node.module and (FOLDER / node.module.split(".")[0]).is_dir():
                    sources = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
                    assert sources & known, f"{name} imports {node.module}"


class TestRayCertificate:
    """Of a stack with Ray's own TLS."""

    def test_is_what_ray_is_told_to_show(self):
        made = bundle(ray_certificate=CERTIFICATE)
        found = texts(made)
        assert {name: found[name] for name in ray_tls.FILES} == CERTIFICATE
        assert 'export RAY_USE_TLS="1"' in found["environment"]
        assert f'export RAY_TLS_SERVER_KEY="$bundle/{ray_tls.KEY}"' in found["environment"]
        assert f"/{ray_tls.KEY}" in found[".gitignore"].split()
        assert made.files()[ray_tls.KEY].mode == 0o600

    def test_is_nowhere_without_one(self):
        found = texts(bundle())
        assert found.keys().isdisjoint(ray_tls.FILES)
        assert "RAY_USE_TLS" not in found["environment"]


class TestAuthority:
    """Of a stack with TLS that makes its certificates itself."""

    TLS = merged(WITH_QUEUE, {"tls": {"source": "generated"}})

    def test_is_trusted_by_what_can_be_told_to(self):
        found = texts(bundle(self.TLS, authority="PEM"))
        assert found["authority.pem"] == "PEM"
        assert 'export MLFLOW_TRACKING_SERVER_CERT_PATH="$bundle/authority.pem"' in found["environment"]
        assert '--verify "$CSLR_AUTHORITY"' in found["README.md"]
        assert 'export SSL_CERT_FILE="$bundle/authority.pem"' in found["bin/ws"]
        assert 'export SSL_CERT_FILE="$PWD/authority.pem"' in found["check"]
        assert "https://" in found["environment"]

    def test_is_not_named_without_one(self):
        found = bundle(WITH_QUEUE).files()
        assert "authority.pem" not in found
        words = {name: content.text.lower() for name, content in found.items()}
        assert not any("authority" in text for name, text in words.items() if name not in ("bin/ws.pyz", "check.py"))
