"""Which part of a Dockerfile, of its context and of its arguments one target is built from.

An edit of a stage that a target does not stand on must not count for that target. Reads what BuildKit reads: stages
joined by ``FROM``, ``COPY --from`` and ``RUN --mount=…,from=``; files that ``COPY``, ``ADD`` and bind mounts name.
Heredocs are not understood: the Docker Engine 20.10 does not know them either.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

from docker_api.builds import context_files

VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::?-(?P<default>[^}]*))?\})")
ANYTHING = "*"  # for a variable whose value only the build knows
NAMED_FROM = 3  # words of ``image AS name``


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What decides the content of one target."""

    text: str  # its stages' instructions, without comments
    args: Mapping[str, str]  # those build arguments that its stages declare
    files: tuple[str, ...]  # of the context, relative to it; sorted


@dataclass(frozen=True, kw_only=True)
class Read:
    """A path that a stage reads from another stage or, where `source` is None, from the context."""

    source: str | None
    path: str
    to: str = ""  # where a COPY puts it


@dataclass(kw_only=True)
class Stage:
    """One ``FROM`` and what follows it."""

    parent: str
    lines: list[str]
    values: dict[str, str]  # of the variables, as far as they are known
    args: set[str] = field(default_factory=set)
    reads: list[Read] = field(default_factory=list)
    only_copies: bool = False  # from the context, into nothing

    def add(self, word: str, line: str) -> None:
        """One more instruction."""
        self.lines.append(line)
        reads = list(_reads(line, self.values))
        self.reads += reads
        if word not in ("COPY", "ADD", "ARG") or any(not read.to.startswith("/") for read in reads):
            self.only_copies = False


def recipe(
    dockerfile: Path, context: Path, *, target: str | None, args: Mapping[str, str], platform: str = ""
) -> Recipe:
    """What `target` (None: the last stage) is built from, with these build arguments."""
    here = tuple(context_files(context, dockerfile))
    try:
        return _recipe(dockerfile.read_text(), here, target, tuple(sorted(args.items())), platform)
    except KeyError as error:
        raise KeyError(f"{dockerfile}: {error.args[0]}") from None


# The same is asked for the plan of a run, for its checks and for its resources.
@cache
def _recipe(
    text: str, here: tuple[str, ...], target: str | None, given: tuple[tuple[str, str], ...], platform: str
) -> Recipe:
    args = dict(given)
    head, stages = _parse(text, args, platform)
    last = target if target is not None else list(stages)[-1]
    if last not in stages:
        raise KeyError(f"there is no stage {last}, only {', '.join(stages)}")
    used = _reachable(stages, last)
    declared = {name for name in used for name in stages[name].args}
    named = declared | {_name(match) for name in used for match in VARIABLE.finditer(stages[name].lines[0])}
    lines = [line for line in head if any(name in named for name, _ in _declarations(line))]
    lines += [line for name in stages if name in used for line in stages[name].lines]
    wanted = list(_wanted(stages, used, here))
    return Recipe(
        text="\n".join(lines),
        args={name: value for name, value in args.items() if name in named},
        files=tuple(name for name in here if any(_covers(path, name) for path in wanted)),
    )


def _parse(text: str, args: Mapping[str, str], platform: str) -> tuple[list[str], dict[str, Stage]]:
    """The lines before the first stage, and the stages by name; one without a name has its number."""
    head: list[str] = []
    stages: dict[str, Stage] = {}
    common = _platform_values(platform)  # and arguments from before the first stage
    stage: Stage | None = None
    for word, line in _instructions(text):
        if word == "FROM":
            words = [text for text in line.split()[1:] if not text.startswith("--")]
            parent = _expand(words[0], common)
            values = _platform_values(platform)
            stage = Stage(parent=parent, lines=[line], values=values, only_copies=parent == "scratch")
            stages[words[2] if len(words) == NAMED_FROM else str(len(stages))] = stage
            continue
        if word == "ARG":
            _declare(line, common if stage is None else stage.values, common, args)
        if stage is None:
            head.append(line)
            continue
        stage.add(word, line)
        if word == "ARG":
            stage.args |= {name for name, _ in _declarations(line)}
    return head, stages


def _declare(line: str, values: dict[str, str], common: Mapping[str, str], args: Mapping[str, str]) -> None:
    """Gives the arguments of an ``ARG`` their values: the build's, else the default, else that before all stages."""
    for name, default in _declarations(line):
        value = args.get(name, common.get(name) if default is None else _expand(default, values))
        if value is not None:
            values[name] = value


def _declarations(line: str) -> Iterator[tuple[str, str | None]]:
    for word in shlex.split(line)[1:]:
        name, equals, default = word.partition("=")
        yield name, default if equals else None


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """Whole instructions, each with its first word: continued lines joined, comments and empty lines left out."""
    whole = ""
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        whole += line.removesuffix("\\")
        if not line.endswith("\\"):
            word, _, rest = whole.strip().partition(" ")
            yield word.upper(), f"{word.upper()} {rest.strip()}"
            whole = ""


def _reads(line: str, values: Mapping[str, str]) -> Iterator[Read]:
    word = line.partition(" ")[0]
    if word == "RUN":
        for mount in re.findall(r"--mount=(\S+)", line):
            options = dict(option.partition("=")[::2] for option in mount.split(","))
            if options.get("type", "bind") == "bind":
                path = options.get("source") or options.get("src") or "/"
                yield Read(source=options.get("from"), path=_expand(path, values))
    elif word in ("COPY", "ADD"):
        words = shlex.split(line)[1:] if "[" not in line else _listed(line)
        flags = dict(word.partition("=")[::2] for word in words if word.startswith("--"))
        *paths, to = [_expand(word, values) for word in words if not word.startswith("--")]
        yield from (Read(source=flags.get("--from"), path=path, to=to) for path in paths if "://" not in path)


def _listed(line: str) -> list[str]:
    """The words of ``COPY --flag ["source", "destination"]``."""
    flags, _, words = line.partition("[")
    return [*flags.split()[1:], *json.loads(f"[{words}")]


def _reachable(stages: Mapping[str, Stage], last: str) -> set[str]:
    found: set[str] = set()
    new = {last}
    while new:
        found |= new
        needed = {name for stage in new for name in _needs(stages[stage])}
        new = (needed & set(stages)) - found
    return found


def _needs(stage: Stage) -> set[str]:
    return {stage.parent, *(read.source for read in stage.reads if read.source)}


def _wanted(stages: Mapping[str, Stage], used: Iterable[str], here: Iterable[str]) -> Iterator[str]:
    """Paths of the context that the stages in use read.

    Of a stage that holds nothing but copied files, only those count that another stage takes from it.
    """
    for name in used:
        stage = stages[name]
        taken = [read.path for user in used for read in stages[user].reads if read.source == name]
        whole = not stage.only_copies or not taken or any(stages[user].parent == name for user in used)
        for read in stage.reads:
            if read.source is not None:
                continue
            if whole:
                yield read.path
            else:
                for file in here:
                    if _covers(read.path, file) and any(_covers(path, _placed(read, file)) for path in taken):
                        yield file


def _placed(read: Read, file: str) -> str:
    """Where a COPY puts a file of the context: the content of a folder, not the folder, lands in the destination."""
    pattern = _plain(read.path)
    inside = PurePosixPath(file).parts[len(PurePosixPath(pattern).parts) :]
    name = "/".join(inside) or PurePosixPath(file).name
    return f"{read.to.rstrip('/')}/{name}" if inside or read.to.endswith("/") else read.to


def _covers(pattern: str, file: str) -> bool:
    """Whether a path, which may have wildcards and may be a folder, names a file."""
    wanted, given = PurePosixPath(_plain(pattern)).parts, PurePosixPath(_plain(file)).parts
    return len(wanted) <= len(given) and all(map(fnmatchcase, given, wanted))


def _plain(path: str) -> str:
    return path.removeprefix("/").removeprefix("./")


def _expand(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(_name(match)) or match["default"] or ANYTHING, text)


def _name(match: re.Match[str]) -> str:
    return str(match["plain"] or match["name"])


def _platform_values(platform: str) -> dict[str, str]:
    """The arguments that BuildKit sets by itself; a stage has them once it declares them."""
    system, _, processor = platform.partition("/")
    return {"TARGETPLATFORM": platform, "TARGETOS": system, "TARGETARCH": processor} if platform else {}
