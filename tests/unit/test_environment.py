"""The environment is read at the edges of a process, and passed on from there."""

import ast
from pathlib import Path

import pytest

from testing.source_code import host_modules

PROJECT = Path(__file__).parents[2]
NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}

# Module on the host → why it reads the environment itself.
READ_BY = {
    "__main__.py": "the program, which the engines start",
    "build_report/measure.py": "a program, which the engines start",
    "build_report/runs.py": "the run that a process belongs to is told to it there",
    "config/project.py": "where this user keeps state, as the home folder is",
    "docker_api/address.py": "Docker's own client is told there where its Engine is",
    "docker_api/registry/client.py": "requests is told there which authorities to trust",
    "docker_api/volume_owner.py": "a program, which the engines start",
    "embedded_engine/resources/command.py": "a command inherits it, as from Pulumi's provider",
    "preflight/container_users.py": "who called sudo is a fact about the host",
    "stack/ssh_signature.py": "OpenSSH inherits it, without what could ask a person",
    "verification/__main__.py": "a program, which the engines start",
    "ws/__main__.py": "the command line, before it can import the rest",
    "ws/client/laptop/check.py": "a program, which runs on a person's own computer",
    "ws/client/laptop/jobs/hello.py": "a job, which Ray starts",
    "ws/environment.py": "the command line",
    "ws/generate/program.py": "it runs the program in its own process, and tells it that nothing is deployed",
}
WRITTEN_BY = {"ws/__main__.py", "ws/environment.py", "ws/generate/program.py"}


def is_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in NAMES and ast.unparse(node.value) == "os"


def reads(tree: ast.AST) -> bool:
    """Also a name that is imported from `os`."""
    return any(
        is_environment(node)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and NAMES & {name.name for name in node.names})
        for node in ast.walk(tree)
    )


def writes(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_environment(node.value) and not isinstance(node.ctx, ast.Load):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called, of = node.func.attr, node.func.value
            if called in ("putenv", "unsetenv") or (
                is_environment(of) and called in ("setdefault", "pop", "update", "clear", "popitem")
            ):
                return True
    return False


def found(what) -> set[str]:
    modules = {str(path.relative_to(PROJECT)): path for path in host_modules()}
    return {name for name, path in modules.items() if what(ast.parse(path.read_text()))}


def test_it_is_read_by_these_modules_alone():
    assert found(reads) == READ_BY.keys()


def test_it_is_written_by_these_modules_alone():
    assert found(writes) == WRITTEN_BY


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['A'] = '1'",
        "del os.environ['A']",
        "os.environ.setdefault('A', '1')",
        "os.environ.pop('A')",
        "os.putenv('A', '1')",
    ],
)
def test_every_way_to_write_is_noticed(code):
    assert writes(ast.parse(code))
    assert reads(ast.parse(code))


def test_a_name_imported_from_os_is_noticed():
    assert reads(ast.parse("from os import environ"))
    assert not reads(ast.parse("from os import path"))
