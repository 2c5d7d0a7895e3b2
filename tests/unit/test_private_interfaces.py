"""Private parts of Pulumi's and Docker's SDK are used in one module each."""

import ast
from pathlib import Path

import pulumi.runtime
import pytest

from testing.harness import PROJECT
from testing.source_code import host_modules

INTERNALS = {"stack/pulumi_internals.py", "docker_api/internals.py"}
SDKS = {"docker", "pulumi", "pulumi_command", "pulumi_docker"}
# Submodules that the SDKs' own documentation names.
DOCUMENTED = {"pulumi", "pulumi.automation", "docker", "docker.errors", "docker.models.containers", "docker.types"}


def private_uses(tree: ast.AST) -> list[str]:
    """Underscore attributes, other than one's own, and parts of the SDKs that their documentation does not name."""
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    if not SDKS & {name.partition(".")[0] for name in imported}:
        return []
    found = [name for name in imported if name.partition(".")[0] in SDKS and name not in DOCUMENTED]
    found = [name for name in found if name not in ("pulumi_command", "pulumi_docker", "pulumi_command.local")]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        whole = ast.unparse(node)
        own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        if node.attr.startswith("_") and not node.attr.startswith("__") and not own:
            found.append(whole)
        if ast.unparse(node.value) == "pulumi.runtime" and node.attr not in pulumi.runtime.__all__:
            found.append(whole)
    return found


@pytest.mark.parametrize("path", [str(path.relative_to(PROJECT)) for path in host_modules()])
def test_are_used_by_no_other_module(path):
    if path in INTERNALS:
        return
    assert private_uses(ast.parse((PROJECT / path).read_text())) == []


@pytest.mark.parametrize("path", sorted(INTERNALS))
def test_are_used_there(path):
    assert private_uses(ast.parse(Path(PROJECT, path).read_text()))


@pytest.mark.parametrize(
    "code",
    [
        "import docker\nclient.api._get_raw_response_socket(answer)",
        "import docker\nself._client._get(answer)",
        "import pulumi\npulumi.runtime.settings.SETTINGS",
        "from pulumi.runtime import rpc",
        "from docker.utils.json_stream import json_stream",
    ],
)
def test_every_way_is_noticed(code):
    assert private_uses(ast.parse(code))
