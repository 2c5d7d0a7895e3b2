"""Finds the inputs of one build target: the stages of the Dockerfile, context files and build arguments that it uses.

An edit of a stage that a target does not use must not count for that target. Follows what BuildKit reads: stages linked
by ``FROM``, ``COPY --from`` and ``RUN --mount=…,from=``; files that ``COPY``, ``ADD`` and bind mounts name.
If only the build knows a value, everything that it may name counts. Unknown syntax is refused (dockerfile_syntax.py):
a missed input would leave a stale image in use.
"""

import json
import posixpath
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

from images.dockerfile_syntax import DockerfileError, Instruction, instructions

__all__ = ["DockerfileError", "Recipe", "Stages", "declared_args", "recipe", "stages"]

VARIABLE = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<kind>:?-)(?P<default>[^}$\\\"']*))?\})", re.ASCII
)
UNKNOWN = "\0"  # in place of a value that only the build knows
EVERYTHING = "*"
QUOTED = re.compile(r"[\"'\\]")
FLAGS = {
    "FROM": {"platform"},
    "RUN": {"mount", "network", "security"},
    "COPY": {"from", "chmod", "chown", "link"},
    "ADD": {"chmod", "chown", "link", "checksum", "keep-git-dir"},
}
MOUNTS = {"bind", "cache", "tmpfs", "secret", "ssh"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the content of a target."""

    text: str  # its stages' instructions, without comments
    args: Mapping[str, str]  # those build arguments that its stages declare
    files: tuple[str, ...]  # of the context, relative to it; sorted


@dataclass(frozen=True, kw_only=True)
class Read:
    """A path that a stage reads from another stage or, where `source` is None, from the context."""

    source: str | None  # as the instruction names it
    path: str
    to: str = ""  # where a COPY puts it


@dataclass(kw_only=True)
class Stage:
    """One ``FROM`` and what follows it."""

    parent: int | None  # the stage that it is built on; None: an image
    lines: list[str]
    only_copies: bool  # from the context, into nothing
    values: dict[str, str] = field(default_factory=dict)  # of its arguments, as far as they are known
    args: set[str] = field(default_factory=set)
    reads: list[Read] = field(default_factory=list)

    def add(self, instruction: Instruction, reads: Sequence[Read]) -> None:
        """One more instruction."""
        self.lines.append(instruction.text)
        self.reads += reads
        # Not ADD, which unpacks archives.
        if instruction.word not in ("COPY", "ARG") or any(not read.to.startswith("/") for read in reads):
            self.only_copies = False


@dataclass(frozen=True, kw_only=True)
class Stages:
    """A whole Dockerfile."""

    head: Sequence[Instruction]  # arguments before the first stage
    stages: Sequence[Stage]
    names: Mapping[str, int]  # of stages; lower case, since their case does not count

    def chain(self, number: int) -> Iterator[Stage]:
        """A stage and those below it, the uppermost first."""
        above: int | None = number
        while above is not None:
            yield self.stages[above]
            above = self.stages[above].parent

    def find(self, name: str | None) -> int | None:
        """The number of a stage by its name or number; None for an image."""
        if name is None:
            return None
        if name.lower() in self.names:
            return self.names[name.lower()]
        return int(name) if name.isdecimal() and int(name) < len(self.stages) else None


def recipe(
    dockerfile: Path, files: Iterable[str], *, target: str | None, args: Mapping[str, str], platform: str = ""
) -> Recipe:
    """The inputs of `target` (None: the last stage), with these build arguments; `files` are the context's.

    Raises:
        DockerfileError: the Dockerfile has something that is not understood.
        KeyError: it has no such target.
    """
    with _of_file(dockerfile):
        try:
            return _recipe(_text(dockerfile), tuple(files), target, tuple(sorted(args.items())), platform)
        except KeyError as error:
            raise KeyError(f"{dockerfile}: {error.args[0]}") from None


def declared_args(dockerfile: Path) -> frozenset[str]:
    """The build arguments that any part of a Dockerfile declares. Raises DockerfileError."""
    with _of_file(dockerfile):
        return _declared_args(_text(dockerfile))


def stages(dockerfile: Path, *, args: Mapping[str, str]) -> Stages:
    """Its stages, with these build arguments. Raises DockerfileError."""
    with _of_file(dockerfile):
        return _parse(_text(dockerfile), args, "")


@contextmanager
def _of_file(dockerfile: Path) -> Iterator[None]:
    try:
        yield
    except DockerfileError as error:
        error.file = str(dockerfile)
        raise


def _text(dockerfile: Path) -> str:
    try:
        return dockerfile.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DockerfileError(line, "this is not UTF-8", "Save the file as UTF-8.") from None


@cache
def _declared_args(text: str) -> frozenset[str]:
    return frozenset(name for one in _instructions(text) if one.word == "ARG" for name, _ in _declarations(one))


@cache
def _instructions(text: str) -> tuple[Instruction, ...]:
    return tuple(instructions(text))


# The same is asked for the plan of a run, for its checks and for its resources.
@cache
def _recipe(
    text: str, here: tuple[str, ...], target: str | None, given: tuple[tuple[str, str], ...], platform: str
) -> Recipe:
    args = dict(given)
    parsed = _parse(text, args, platform)
    last = parsed.find(target) if target is not None else len(parsed.stages) - 1
    if last is None:
        raise KeyError(f"there is no stage {target}, only {', '.join(parsed.names)}")
    used = _reachable(parsed, last)
    named = {name for number in used for name in parsed.stages[number].args}
    named |= {_name(match) for number in used for match in VARIABLE.finditer(parsed.stages[number].lines[0])}
    named = _with_defaults(parsed.head, named)
    lines = [one.text for one in parsed.head if any(name in named for name, _ in _declarations(one))]
    lines += [line for number, stage in enumerate(parsed.stages) if number in used for line in stage.lines]
    wanted = list(_wanted(parsed, used, here))
    return Recipe(
        text="\n".join(lines),
        args={name: value for name, value in args.items() if name in named},
        files=tuple(name for name in here if any(_covers(path, name) for path in wanted)),
    )


def _parse(text: str, args: Mapping[str, str], platform: str) -> Stages:
    head: list[Instruction] = []
    stages: list[Stage] = []
    names: dict[str, int] = {}
    common = _platform_values(platform)  # and arguments from before the first stage
    whole = _instructions(text)
    environment = {name for one in whole if one.word == "ENV" for name in _assigned(one)}
    for one in whole:
        if one.word == "FROM":
            stage, name = _from(one, common, names)
            if name in names:
                raise one.refuse(f"there is a stage {name} already", "Give each stage a name of its own.")
            if name:
                names[name] = len(stages)
            stages.append(stage)
            continue
        if one.word == "ARG":
            _declare(one, stages[-1] if stages else None, common, args)
        if not stages:
            if one.word != "ARG":
                raise one.refuse(f"{one.word} stands before the first FROM", "Move it below a FROM.")
            head.append(one)
        else:
            # A variable of the environment wins over an argument of its name, in its stage and in all that follow.
            known = {name: value for name, value in stages[-1].values.items() if name not in environment}
            stages[-1].add(one, list(_reads(one, known)))
    if not stages:
        raise DockerfileError(1, "there is no FROM", "Begin a stage with FROM.")
    return Stages(head=head, stages=stages, names=names)


def _from(one: Instruction, common: Mapping[str, str], names: Mapping[str, int]) -> tuple[Stage, str]:
    """A stage and its name in lower case; "" for none."""
    _refuse_forms(one, one.rest)
    match _flags(one)[1]:
        case [image]:
            name = ""
        case [image, word, name] if word.upper() == "AS":
            pass
        case _:
            raise one.refuse("FROM takes an image and a name", "Write FROM image AS name.")
    parent = _expand(image, common).lower()
    if UNKNOWN in parent or not parent:
        raise one.refuse(
            f"{image} has no value",
            "Declare it by ARG before the first FROM, with a default if the build has no value for it.",
        )
    return Stage(parent=names.get(parent), lines=[one.text], only_copies=parent == "scratch"), name.lower()


def _declare(one: Instruction, stage: Stage | None, common: dict[str, str], args: Mapping[str, str]) -> None:
    """Gives the arguments of an ``ARG`` their values: the build's, else the default, else that before all stages."""
    _refuse_forms(one, one.rest)
    values = common if stage is None else stage.values
    literal = "$" in one.rest and QUOTED.search(one.rest)  # a quotation may keep a variable from being one
    for name, default in _declarations(one):
        value = args.get(name)
        if value is None and default is not None:
            value = UNKNOWN if literal else _expand(default, values)
        elif value is None:
            value = common.get(name)
        if value is not None:
            # Which of two declarations counts depends on the builder.
            values[name] = UNKNOWN if values.get(name, value) != value else value
        if stage:
            stage.args.add(name)


def _declarations(one: Instruction) -> Iterator[tuple[str, str | None]]:
    for word in _words(one):
        name, equals, default = word.partition("=")
        yield name, default if equals else None


def _assigned(one: Instruction) -> Iterator[str]:
    """The names that an ``ENV`` sets."""
    for word in _words(one):
        yield word.partition("=")[0]


def _words(one: Instruction) -> list[str]:
    try:
        return shlex.split(one.rest)
    except ValueError as error:
        raise one.refuse(f"{str(error).lower()} in {one.rest!r}", "Close the quotation.") from None


def _with_defaults(head: Sequence[Instruction], named: set[str]) -> set[str]:
    """The arguments, and those from before the first stage that their defaults there name."""
    found: set[str] = set()
    new = named
    while new:
        found |= new
        defaults = (default for one in head for name, default in _declarations(one) if name in new and default)
        new = {_name(match) for default in defaults for match in VARIABLE.finditer(default)} - found
    return found


def _flags(one: Instruction) -> tuple[list[tuple[str, str]], list[str]]:
    """The flags before an instruction's words, and the words."""
    words = one.rest.split()
    flags = []
    while words and words[0].startswith("--"):
        flag = words.pop(0)
        name, _, value = flag[2:].partition("=")
        if name not in FLAGS[one.word] or QUOTED.search(flag):
            known = ", ".join(f"--{flag}" for flag in sorted(FLAGS[one.word]))
            raise one.refuse(f"{one.word} {flag} is not understood", f"Known are {known}, without quotation marks.")
        flags.append((name, value))
    return flags, words


def _reads(one: Instruction, values: Mapping[str, str]) -> Iterator[Read]:
    if one.word == "RUN":
        for flag, value in _flags(one)[0]:
            if flag == "mount":
                yield from _mounted(one, value, values)
    elif one.word in ("COPY", "ADD"):
        flags, words = _flags(one)
        if words and words[0].startswith("["):
            words = _listed(one, words[0])
        elif QUOTED.search(" ".join(words)):
            raise one.refuse("a quoted path is not understood", f'Write {one.word} ["from", "to"].')
        if len(words) < 2:
            raise one.refuse(f"{one.word} needs paths", f"Write {one.word} from to.")
        source = _source(one, dict(flags).get("from"))
        *paths, last = words
        to = _destination(one, last, values)
        for path in paths:
            if "://" not in path:
                yield Read(source=source, path=_path(one, path, values), to=to)


def _mounted(one: Instruction, mount: str, values: Mapping[str, str]) -> Iterator[Read]:
    options = {key.lower(): value for key, _, value in (option.partition("=") for option in mount.split(","))}
    kind = options.get("type", "bind").lower()
    if kind not in MOUNTS:
        raise one.refuse(f"a mount of the type {kind} is not understood", f"Known are {', '.join(sorted(MOUNTS))}.")
    source = _source(one, options.get("from"))
    if kind == "bind" or source is not None:
        path = options.get("source") or options.get("src") or "/"
        yield Read(source=source, path=_path(one, path, values))


def _source(one: Instruction, name: str | None) -> str | None:
    if name is not None and ("$" in name or not name):
        raise one.refuse(f"the stage or image {name!r} to copy from is not known here", "Name it without a variable.")
    return name


def _listed(one: Instruction, first: str) -> list[str]:
    """The words of ``COPY --flag ["source", "destination"]``."""
    listed = one.rest[one.rest.index(first) :]
    try:
        words = json.loads(listed)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise one.refuse(f"{listed!r} is not a list of paths", f'Write {one.word} ["from", "to"].')
    return words


def _path(one: Instruction, text: str, values: Mapping[str, str]) -> str:
    """A path that is read, from its root. It may have the wildcards * and ?."""
    _refuse_forms(one, text)
    path = _expand(text, values)
    if UNKNOWN in path:
        return EVERYTHING
    if re.search(r"[\[\\]", path):
        raise one.refuse(f"the pattern {path!r} is not understood", "Use no wildcards but * and ?.")
    return posixpath.normpath(f"/{path.lstrip('/')}").lstrip("/")


def _destination(one: Instruction, text: str, values: Mapping[str, str]) -> str:
    """Where a COPY puts files; "" where that is not known, or depends on the working directory."""
    _refuse_forms(one, text)
    path = _expand(text, values)
    if UNKNOWN in path or not path.startswith("/"):
        return ""
    return posixpath.normpath(f"/{path.lstrip('/')}") + "/" * path.endswith(("/", "/.", "/.."))


def _refuse_forms(one: Instruction, text: str) -> None:
    if "$" in VARIABLE.sub("", text):
        raise one.refuse(f"a variable in {text!r} is not understood", "Write $NAME, ${NAME} or ${NAME:-default}.")


def _expand(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: _value(match, values), text)


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    value = values.get(_name(match))
    if value is None:  # not declared, or without a value: the base image's environment may have one
        return UNKNOWN
    return match["default"] if not value and match["kind"] == ":-" else value


def _name(match: re.Match[str]) -> str:
    return str(match["plain"] or match["name"])


def _reachable(parsed: Stages, last: int) -> set[int]:
    found: set[int] = set()
    new = {last}
    while new:
        found |= new
        new = {needed for number in new for needed in _needs(parsed, parsed.stages[number])} - found
    return found


def _needs(parsed: Stages, stage: Stage) -> set[int]:
    needed = {stage.parent, *(parsed.find(read.source) for read in stage.reads)}
    return {number for number in needed if number is not None}


def _wanted(parsed: Stages, used: Collection[int], here: Iterable[str]) -> Iterator[str]:
    """Paths of the context that the stages in use read.

    Of a stage that holds nothing but copied files, only those count that another stage takes from it.
    """
    users = [parsed.stages[number] for number in used]
    for number in used:
        stage = parsed.stages[number]
        taken = [read.path for user in users for read in user.reads if parsed.find(read.source) == number]
        whole = not stage.only_copies or not taken or any(user.parent == number for user in users)
        for read in stage.reads:
            if read.source is not None:
                continue
            if whole:
                yield read.path
            else:
                for file in here:
                    if _covers(read.path, file) and any(_touches(path, _placed(read, file)) for path in taken):
                        yield file


def _placed(read: Read, file: str) -> str:
    """Where a COPY puts a file of the context: the content of a folder, not the folder, lands in the destination."""
    inside = PurePosixPath(file).parts[len(PurePosixPath(read.path).parts) :]
    name = "/".join(inside) or PurePosixPath(file).name
    return f"{read.to.rstrip('/')}/{name}" if inside or read.to.endswith("/") else read.to


def _touches(taken: str, placed: str) -> bool:
    """Whether a path that is taken names a file, or lies below its place, which may be a folder that was there."""
    return _covers(taken, placed.lstrip("/")) or _covers(placed.lstrip("/"), taken)


def _covers(pattern: str, file: str) -> bool:
    """Whether a path, which may have wildcards and may be a folder, names a file."""
    wanted, given = PurePosixPath(pattern).parts, PurePosixPath(file).parts
    return len(wanted) <= len(given) and all(map(fnmatchcase, given, wanted))


def _platform_values(platform: str) -> dict[str, str]:
    """The arguments that BuildKit sets by itself; a stage has them once it declares them."""
    system, _, processor = platform.partition("/")
    return {"TARGETPLATFORM": platform, "TARGETOS": system, "TARGETARCH": processor} if platform else {}
