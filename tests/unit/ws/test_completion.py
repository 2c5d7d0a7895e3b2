"""What the shell completes, beyond what is the same for every stack."""

import pytest
import typer

from ws import cli, completion, stack_settings


@pytest.fixture
def context(tmp_path, monkeypatch) -> typer.Context:
    monkeypatch.setattr(stack_settings, "FOLDER", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {'cslr:platform': {marimo: {users: [ann, ben]}}}\n")
    (tmp_path / "Pulumi.wrong.yaml").write_text("config: {'cslr:platform': {marimo: {users: 7}}}\n")
    return typer.Context(typer.main.get_command(cli.app))


def test_services_are_those_of_all_and_of_the_people_of_the_stack(context):
    context.params = {"stack": "dev"}
    assert completion.services(context, "mar") == ["marimo", "marimo-ann", "marimo-ben"]
    assert completion.services(context, "redis") == ["redis", "redis-replica", "redis-exporter"]


@pytest.mark.parametrize("stack", ["wrong", "missing"])
def test_services_are_also_known_where_the_stack_file_cannot_be_read(context, stack):
    context.params = {"stack": stack}
    assert completion.services(context, "mar") == ["marimo"]
