"""Reads YAML config files safely: refuses duplicate keys, which would silently replace earlier ones. Writes such files.

A file of a megabyte is read in less than a second, whatever its content: with libyaml if PyYAML has it; a file whose
aliases would make it many times larger is refused first.
"""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from coordination.regular_file import read_text

LARGEST = 4 * 2**20  # bytes; a stack file has a few thousand
DEEPEST = 60  # levels; the keys of a stack have 8
MOST_VALUES = 500_000  # of a file in which all aliases are written out
LONGEST_NUMBER = 100  # characters
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# Readers of YAML 1.1 and 1.2 take these for different numbers, or for text: octal ones, base 60, `_`, `1e3`.
AMBIGUOUS = re.compile(r"[-+]?(?:0o?[0-9_]+|[0-9]+[eE][-+]?[0-9]+|(?:[0-9]+\.[0-9]*|\.[0-9]+)[eE][0-9]+)")
SEPARATED = re.compile(r"[_:]")  # of what was read as a number
NO_TEXT = "it is not text in UTF-8: save it as that"
SafeLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML need not be built with libyaml


class InvalidYamlError(Exception):
    """A file's text is not usable YAML; says why and where, without the file's name."""


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """The content of a file.

    Raises:
        InvalidYamlError: see `parse_yaml`, or it is not text.
        OSError: it cannot be read.
    """
    try:
        return parse_yaml(read_text(path))
    except UnicodeDecodeError as error:
        raise InvalidYamlError(NO_TEXT) from error


class Dumper(yaml.SafeDumper):
    """Puts text in quotes that another program would read as a number, and `parse_yaml` would refuse without."""


Dumper.add_implicit_resolver(NUMBERS[0], re.compile(rf"(?:{AMBIGUOUS.pattern})\Z"), [*"-+.0123456789"])


def dump_yaml(value: object, **options: Any) -> str:  # noqa: ANN401 - PyYAML's
    """A value as YAML that `parse_yaml`, and every other program, reads as the same one."""
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, **options))


def parse_yaml(text: str) -> Any:  # noqa: ANN401
    """The content of a text.

    Raises:
        InvalidYamlError: it is not valid, has a key twice, or is too large, too deep or grows too much by its aliases.
    """
    if len(text) > LARGEST:
        raise InvalidYamlError(f"it is longer than {LARGEST >> 20} MB")
    try:
        with no_garbage_collection():
            return _parse(text)
    except RecursionError as error:
        raise InvalidYamlError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date in month 13
        if hint := _hint(text, error):
            raise InvalidYamlError(hint) from error
        shown = str(error).replace('"<unicode string>", ', "").replace('"<byte string>", ', "")
        raise InvalidYamlError(" ".join(shown.split())) from error


def _hint(text: str, error: Exception) -> str:
    """An explanation of the error for people who do not know YAML's terms; empty if there is none."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith(("<<<<<<<", ">>>>>>>")):
            return f"a merge that was not ended is left in it, at line {number}"
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return ""
    here = lines[mark.line] if mark.line < len(lines) else ""
    where = f"line {mark.line + 1}, column {mark.column + 1}"
    said = str(getattr(error, "problem", "") or "")
    if "cannot start any token" in said and "\t" in here[: mark.column + 1]:
        return f"there is a tab in {where}: indent with spaces"
    if "another document" in said:
        return f"a second document begins in line {mark.line + 1}: remove the line `---`"
    if "constructor for the tag" in said:
        return f"the tag in {where} is not taken: write the value alone, without what begins with `!`"
    if "mapping values are not allowed" in said:
        return f"there is a colon too many, or a line indented otherwise than its neighbours, at {where}"
    return ""


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Disables garbage collection, which takes four fifths of the time for many small objects and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _parse(text: str) -> Any:  # noqa: ANN401
    _refuse_depth(text)
    loader = SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_depth(text: str) -> None:
    """Before values are made of a text, since libyaml's composer would end the process at the end of its stack."""
    depth = 0
    for event in yaml.parse(text, SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise InvalidYamlError(f"it is nested too deeply, at line {_line(event)}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _line(found: yaml.Node | yaml.Event) -> int:
    return found.start_mark.line + 1 if found.start_mark else 0


def _check(root: yaml.Node) -> None:
    """No key is there twice (before merge keys, ``<<``, are resolved, which an own key may well replace), no number can
    be read as another one, and all aliases written out are not too much.
    """
    sizes: dict[int, int] = {}  # of visited objects, by identity
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        identity = id(node)
        if identity in sizes:
            return sizes[identity]
        if identity in open_nodes:
            raise InvalidYamlError(f"an anchor (&) at line {_line(node)} holds its own alias (*)")
        open_nodes.add(identity)
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node)
        elif isinstance(node, yaml.ScalarNode):
            _refuse_ambiguous(node)
        total = 1 + sum(size(inner) for inner in _inner(node))
        open_nodes.discard(identity)
        if total > MOST_VALUES:
            raise InvalidYamlError(f"its aliases (*) make it too large: more than {MOST_VALUES} values")
        sizes[identity] = total
        return total

    size(root)


def _inner(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _refuse_twice(mapping: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key in (key for key, _ in mapping.value if isinstance(key, yaml.ScalarNode)):
        if key.value in seen:
            twice = f"the key {key.value[:60]!r} is there twice"
            raise yaml.constructor.ConstructorError(problem=twice, problem_mark=key.start_mark)
        seen.add(key.value)


def _refuse_ambiguous(scalar: yaml.ScalarNode) -> None:
    if scalar.style:  # in quotes, or a block of text
        return
    is_number = scalar.tag in NUMBERS
    if AMBIGUOUS.fullmatch(scalar.value) or (is_number and SEPARATED.search(scalar.value)):
        raise InvalidYamlError(
            f"programs read {scalar.value[:40]} at line {_line(scalar)} as different numbers: write it in decimal "
            "digits alone, or in quotes if it is text"
        )
    if is_number and len(scalar.value) > LONGEST_NUMBER:
        raise InvalidYamlError(f"the number at line {_line(scalar)} is too long")
