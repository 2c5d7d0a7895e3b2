"""The inputs of one build target: stages, the arguments that they declare, the files that they read."""

from pathlib import Path

import pytest

from docker_api.builds import context_files
from images.dockerfile import DockerfileError, Recipe, declared_args, recipe

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
    file = folder / "Dockerfile"
    return recipe(file, context_files(folder, file), target=target, args=ARGS | args, platform="linux/arm64")


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

    @pytest.mark.parametrize(
        "text",
        [
            "FROM scratch AS Files\nCOPY tool.sh /\nFROM scratch\nCOPY --from=files / /\n",
            "FROM scratch AS files\nCOPY tool.sh /\nFROM scratch\nCOPY --from=0 / /\n",
            "FROM scratch AS files\nCOPY tool.sh /\nFROM scratch\nRUN --mount=type=cache,from=files,target=/c true\n",
            "FROM scratch AS files\nCOPY tool.sh /\nFROM scratch\nRUN --mount=FROM=files,target=/c true\n",
            "FROM scratch AS files\nCOPY tool.sh /a\nFROM scratch\nCOPY --from=files /a/tool.sh /\n",  # it may be below
            "FROM scratch AS files\nADD tool.sh /a.tar\nFROM scratch\nCOPY --from=files /inside /\n",  # it is unpacked
            "ARG SUFFIX=\nFROM scratch AS files\nCOPY tool.sh /\nFROM files${SUFFIX}\n",
            "FROM scratch\nARG A=README\nENV A=tool.sh\nCOPY ${A} /\n",  # the environment wins
            "FROM scratch\nARG A=README\nARG A=tool.sh\nCOPY ${A} /\n",
            "FROM scratch\nARG A=sh\nARG B='tool.${A}'\nCOPY ${B} /\n",
            "FROM scratch\nCOPY tool.${TARGETARCH} /\n",  # not declared
            "FROM scratch\nCOPY settings/../tool.sh /\n",
            "FROM scratch\nCOPY //tool.sh /\n",
            "FROM scratch\nCOPY ././tool.sh /\n",
            "FROM scratch\nCOPY locks/${UNKNOWN}/x tool.sh /\n",
            "FROM scratch\nRUN true \\\\\nCOPY tool.sh /\n",  # a backslash that is escaped continues nothing
            "FROM scratch\nCOPY\ttool.sh /\n",
            "FROM scratch\r\nCOPY tool.sh /\r\n",
            "FROM scratch\nCOPY \\\n  tool.sh /",
            "FROM scratch\nCOPY tool.sh / \\",  # to the end of the file
        ],
    )
    def test_none_is_lost_by_the_way_it_is_written(self, folder, text):
        assert "tool.sh" in of(folder, None, text).files

    def test_of_a_folder_that_only_the_build_knows_are_all(self, folder):
        assert "locks/py3.13/torch.txt" in of(folder, None, "FROM scratch\nCOPY locks/${UNKNOWN}/torch.txt /\n").files


class TestText:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ('RUN echo "a \\\n  b"', 'RUN echo "a \\\n    b"'),  # indentation inside a quotation
            ("RUN echo a\\\n  b", "RUN echo a\\\nb"),  # a blank between two words
            ("RUN echo a \\\n  # c\n  b", "RUN echo a \\\n  # c\n  d"),
            ("RUN true \\", "RUN false \\"),  # the last line
        ],
    )
    def test_differs_where_what_is_run_differs(self, folder, one, other):
        assert of(folder, None, f"FROM scratch\n{one}\n").text != of(folder, None, f"FROM scratch\n{other}\n").text

    def test_has_the_arguments_that_a_default_before_all_stages_names(self, folder):
        text = "ARG VERSION=1\nARG IMAGE=base:${VERSION}\nFROM ${IMAGE}\n"
        assert of(folder, None, text).text != of(folder, None, text.replace("=1", "=2")).text
        assert of(folder, None, text, VERSION="3").args["VERSION"] == "3"


class TestRefusal:
    """Unknown syntax must not silently drop out of the digest."""

    @pytest.mark.parametrize(
        ("text", "line", "reason", "remedy"),
        [
            ("FROM scratch\nRUN <<EOF\n# a comment?\nEOF\n", 2, "a heredoc (<<) is not understood", "COPY"),
            ("FROM scratch\nRUN true \\\n && cat <<-'EOF'\nx\nEOF\n", 2, "a heredoc", "file of the context"),
            ("FROM scratch\nCOPY <<EOF /file\nx\nEOF\n", 2, "a heredoc", "file of the context"),
            ("FROM scratch\nINCLUDE other\n", 2, "'INCLUDE' is not an instruction", "Docker 20.10"),
            ("FROM scratch\nEOF\n", 2, "'EOF' is not an instruction", "Docker 20.10"),
            ("FROM scratch\nONBUILD RUN true\n", 2, "ONBUILD acts in builds on this image", "where it acts"),
            ("FROM scratch\nMAINTAINER me\n", 2, "MAINTAINER is deprecated", "LABEL"),
            ("# escape=`\nFROM scratch\n", 1, "the directive `escape`", "Remove it"),
            ("# A comment.\n#  Syntax = docker/dockerfile:1\nFROM scratch\n", 2, "the directive `syntax`", "Remove it"),
            ("\ufeffFROM scratch\n", 1, "is not an instruction", "Docker 20.10"),
            ("FROM scratch\nRUN a\u2028# b\n", 2, "the character U+2028", "plain line ends"),
            ("FROM scratch\nRUN a\x0b# b\n", 2, "the character U+000B", "plain line ends"),
            ("FROM scratch\nRUN a\r# b\n", 2, "the character U+000D", "plain line ends"),
            ("FROM scratch\nENV KEY value\n", 2, "ENV without `=`", "ENV name=value"),
            ("RUN true\nFROM scratch\n", 1, "RUN stands before the first FROM", "below a FROM"),
            ("ARG A=1\n", 1, "there is no FROM", "FROM"),
            ("ARG A\nFROM $A\n", 2, "$A has no value", "default"),
            ("ARG A=\nFROM ${A}\n", 2, "${A} has no value", "default"),
            ("ARG A=1\nFROM x${A:+2}\n", 2, "a variable in 'x${A:+2}'", "${NAME:-default}"),
            ("FROM scratch AS a b\n", 1, "FROM takes an image and a name", "FROM image AS name"),
            ("FROM scratch AS a\nFROM scratch AS A\n", 2, "there is a stage", "a name of its own"),
            ("FROM scratch\nARG A='x\n", 2, "no closing quotation", "Close"),
            ("FROM scratch\nARG A=${B:+c}\n", 2, "a variable in", "${NAME:-default}"),
            ("FROM scratch\nCOPY a[0-9] /\n", 2, "the pattern 'a[0-9]'", "no wildcards but"),
            ("FROM scratch\nCOPY a\\ b /\n", 2, "a quoted path", 'COPY ["from", "to"]'),
            ('FROM scratch\nCOPY "a b" /\n', 2, "a quoted path", 'COPY ["from", "to"]'),
            ('FROM scratch\nCOPY ["a", /b]\n', 2, "is not a list of paths", 'COPY ["from", "to"]'),
            ("FROM scratch\nCOPY a\n", 2, "COPY needs paths", "COPY from to"),
            ("FROM scratch\nCOPY --parents a /\n", 2, "COPY --parents is not understood", "--chmod"),
            ("FROM scratch\nCOPY --from=$A a /\n", 2, "the stage or image '$A'", "without a variable"),
            ("FROM scratch\nRUN --mount=type=image,x true\n", 2, "a mount of the type image", "bind, cache"),
            ('FROM scratch\nRUN --mount="source=a b" true\n', 2, "is not understood", "without quotation marks"),
            ("FROM scratch\nRUN --device=gpu true\n", 2, "RUN --device=gpu is not understood", "--mount"),
        ],
    )
    def test_names_file_line_reason_and_remedy(self, folder, text, line, reason, remedy):
        with pytest.raises(DockerfileError) as caught:
            of(folder, None, text)
        said = str(caught.value)
        assert said.startswith(f"{folder / 'Dockerfile'}:{line}: ")
        assert reason in said
        assert remedy in said

    def test_bytes_that_are_no_text(self, folder):
        (folder / "Dockerfile").write_bytes(b"FROM scratch\nRUN \xff\n")
        with pytest.raises(DockerfileError, match=":2: this is not UTF-8"):
            of(folder, None)

    def test_comments_may_say_anything(self, folder):
        text = "# See <<here>>; ONBUILD.\nFROM scratch\n# escape=`\nRUN true\n"
        assert of(folder, None, text).text == "FROM scratch\nRUN true"

    def test_reaches_whoever_asks_for_the_arguments(self, folder):
        (folder / "Dockerfile").write_text("FROM scratch\nONBUILD ARG A\n")
        with pytest.raises(DockerfileError, match="ONBUILD"):
            declared_args(folder / "Dockerfile")
