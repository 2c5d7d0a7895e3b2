"""What one target of a Dockerfile is built from: stages, the arguments that they declare, the files that they read."""

from pathlib import Path

import pytest

from docker_api.dockerfile import Recipe, recipe

DOCKERFILE = """
# The family.
ARG BASE
ARG KIND=cuda
ARG UNUSED=1

FROM scratch AS locks
ARG PYTHON
COPY --chmod=644 locks/py${PYTHON}/ /

FROM ${BASE} AS tools
COPY tool.sh /opt/
RUN apt-get update \\
    # comments may stand inside
 && apt-get install -y \\
    binutils

FROM ${BASE} AS libraries-cuda
FROM ${BASE} AS libraries-cpu
RUN echo cpu

FROM libraries-${KIND} AS runtime
ARG INDEX=
RUN --mount=type=bind,from=tools,target=/tmp/tools \\
    --mount=type=cache,target=/tmp/cache \\
    --mount=type=bind,from=locks,source=/torch.txt,target=/tmp/lock.txt \\
    install

FROM runtime AS ray
RUN --mount=type=bind,from=locks,source=/ray.txt,target=/tmp/lock.txt install
ARG LABELLED
LABEL a=${LABELLED}

FROM runtime AS devel
ARG APT
ADD https://site.test/key.gpg /etc/
COPY gdbinit settings/*.toml /etc/
"""
ARGS = {"BASE": "base:1", "PYTHON": "3.14", "INDEX": "https://index.test", "APT": "https://apt.test", "LABELLED": "x"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "locks/py3.13/torch.txt",
        "locks/py3.14/torch.txt",
        "locks/py3.14/ray.txt",
        "settings/a.toml",
        "settings/b.txt",
        "tool.sh",
        "gdbinit",
        "README",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def of(folder: Path, target: str | None, text: str | None = None, **args: str) -> Recipe:
    """The recipe of a target, of `text` where it is given."""
    if text is not None:
        (folder / "Dockerfile").write_text(text)
    return recipe(folder / "Dockerfile", folder, target=target, args=ARGS | args, platform="linux/arm64")


class TestStages:
    @pytest.mark.parametrize("target", ["runtime", "ray"])
    def test_edit_of_a_stage_that_the_target_does_not_stand_on_does_not_count(self, folder, target):
        before = of(folder, target)
        assert of(folder, target, DOCKERFILE.replace("gdbinit ", "README ")) == before

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("binutils", "gdb"),  # of a stage that it mounts
            ("target=/tmp/cache", "target=/tmp/c"),  # of its parent
            ("ARG BASE", "ARG BASE=b"),  # before all stages
            ("/ray.txt,target", "/torch.txt,target"),  # its own
        ],
    )
    def test_edit_of_one_that_it_stands_on_or_takes_from_counts(self, folder, old, new):
        before = of(folder, "ray")
        assert of(folder, "ray", DOCKERFILE.replace(old, new)).text != before.text

    def test_parent_is_chosen_by_an_argument(self, folder):
        assert "echo cpu" not in of(folder, "ray").text
        assert "echo cpu" in of(folder, "ray", KIND="cpu").text

    def test_comments_and_empty_lines_do_not_count(self, folder):
        before = of(folder, "ray")
        assert of(folder, "ray", DOCKERFILE.replace("# comments may", "\n# remarks may")) == before

    def test_last_one_is_meant_without_a_target(self, folder):
        assert of(folder, None) == of(folder, "devel")

    def test_one_without_a_name_has_its_number(self, folder):
        found = of(folder, None, "FROM scratch\nCOPY tool.sh /a\nFROM scratch\nCOPY --from=0 /a /b\n")
        assert found.files == ("tool.sh",)

    def test_missing_one_is_refused_with_those_there_are(self, folder):
        with pytest.raises(KeyError, match="no stage rai, only locks, tools"):
            of(folder, "rai")


class TestArguments:
    def test_only_those_count_that_a_stage_in_use_declares(self, folder):
        assert list(of(folder, "runtime").args) == ["BASE", "INDEX", "PYTHON"]
        assert list(of(folder, "ray").args) == ["BASE", "INDEX", "LABELLED", "PYTHON"]
        assert "APT" in of(folder, "devel").args


class TestFiles:
    def test_are_those_that_the_stages_copy_or_mount(self, folder):
        assert of(folder, "devel").files == ("gdbinit", "locks/py3.14/torch.txt", "settings/a.toml", "tool.sh")

    def test_of_a_stage_that_only_holds_files_are_those_that_are_taken_from_it(self, folder):
        assert of(folder, "runtime").files == ("locks/py3.14/torch.txt", "tool.sh")
        assert of(folder, "ray").files == ("locks/py3.14/ray.txt", "locks/py3.14/torch.txt", "tool.sh")

    def test_of_a_stage_that_does_more_are_all_that_it_copies(self, folder):
        text = DOCKERFILE.replace("/py${PYTHON}/ /\n", "/py${PYTHON}/ /\nRUN true\n")
        assert "locks/py3.14/ray.txt" in of(folder, "runtime", text).files

    @pytest.mark.parametrize(
        "line",
        [
            'COPY ["tool.sh", "/a b"]',
            "COPY ./tool.* /",
            "COPY $UNKNOWN /",
            "RUN --mount=source=tool.sh,target=/tool.sh true",
            "RUN --mount=target=/context true",
            "ARG TARGETARCH\nARG KIND=${TARGETARCH}\nCOPY tool.${KIND:-sh} /",
        ],
    )
    def test_are_found_however_they_are_named(self, folder, line):
        (folder / "tool.arm64").touch()
        assert {"tool.sh", "tool.arm64"} & set(of(folder, None, f"FROM scratch\n{line}\n").files)

    def test_that_are_not_sent_do_not_count(self, folder):
        (folder / "Dockerfile.dockerignore").write_text("settings\n")
        assert of(folder, "devel").files == ("gdbinit", "locks/py3.14/torch.txt", "tool.sh")
