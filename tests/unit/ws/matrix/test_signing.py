"""Options of `ws matrix` for signatures, and which names `--verify` looks at."""

from collections.abc import Mapping
from typing import Any

import pytest

from components.image_family import family_args, pushed_names
from preflight.build_host import BuildHost
from stack.signed_images import Found
from stack.sources import Sources
from ws import cli
from ws.matrix import verify
from ws.matrix.plan import Plan

PLACE = "registry.test/lab"


def planned(**settings: Any) -> Plan:
    """Of the health service's image for both platforms."""
    raw = {"targets": [], "services": ["health"], "platforms": ["linux/amd64", "linux/arm64"], "registry": PLACE}
    sources = Sources(bases="bootstrap", torch="cuda")
    args = family_args(
        {**raw, **settings}, stack_file="Pulumi.matrix.yaml", python="python", choose=lambda *_, **__: sources
    )
    return Plan(args=args, tags=(), host=BuildHost())


class TestVerify:
    def test_looks_at_all_names_that_a_push_gives_also_where_this_run_pushes_nothing(self, monkeypatch, tmp_path):
        (tmp_path / "signers").touch()
        monkeypatch.setattr(verify, "pushed_digest", lambda _: f"sha256:{'a' * 64}")
        monkeypatch.setattr(verify, "look", lambda *_: Found())
        monkeypatch.setattr(verify, "check_signers", lambda _: None)
        found, _ = verify.verdicts(planned(), str(tmp_path / "signers"))
        assert [one.reference for one in found] == [name.reference for name in pushed_names(planned(push=True).args)]


class TestOptions:
    @pytest.fixture
    def options(self, monkeypatch, tmp_path) -> dict[str, Any]:
        """What the plan is made of, of a command called in the test's folder."""
        found: dict[str, Any] = {}

        def plan(_: object, options: Mapping[str, Any]) -> Plan:
            found.update(options)
            return planned()

        monkeypatch.setenv("CSLR_CALLED_FROM", str(tmp_path))
        monkeypatch.setattr("ws.deploy.Session.prepare_host", lambda _: None)
        monkeypatch.setattr("ws.matrix.plan.plan", plan)
        return found

    def test_a_key_is_where_the_command_is_called(self, options, tmp_path):
        assert cli.main(["matrix", "--list", "--signing-key", "keys/one"]) == 0
        assert options["signing_key"] == str(tmp_path / "keys/one")

    def test_signers_are_where_the_command_is_called(self, options, tmp_path, monkeypatch):
        asked: list[str | None] = []

        def verdicts(_: Plan, signers: str | None) -> tuple[list[verify.Verdict], Found]:
            asked.append(signers)
            return [], Found()

        monkeypatch.setattr(verify, "verdicts", verdicts)
        assert cli.main(["matrix", "--verify", "--signers", "keys/signers"]) == 0
        assert asked == [str(tmp_path / "keys/signers")]

    def test_a_key_without_a_push_is_refused(self, options, capsys):
        assert cli.main(["matrix", "--signing-key", "key"]) == 1
        said = capsys.readouterr().err
        assert "ws matrix --signing-key: signs what is pushed" in said
        assert "add --push" in said
        assert "leave --signing-key out" in said
