"""Edits keys of a stack file and preserves all other text: comments, order, quotes, indentation.

A YAML library finds the positions; the edit changes the text. The result is parsed again and must have the intended
content.
"""

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from config.yaml_file import InvalidYamlError, SafeLoader, dump_yaml, no_garbage_collection, parse_yaml
from images.packages_lock import name_of
from ws.errors import WsError

LARGE = 50_000  # characters
Step = str | int
Path = tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A value in the text: its holder, its key, and its node."""

    holder: yaml.Node
    holders_key: yaml.Node | None  # the key whose value is the holder
    key: yaml.Node | None  # None for an entry of a list
    node: yaml.Node


def with_value(text: str, path: Path, value: object) -> str:
    """The text of a file of mappings, in which the key at a path has this value; lists are counted from 0, and an entry
    may be added at the end of one.

    Raises:
        WsError: nothing can be there, or the file is written in a way that this cannot edit.
    """
    wanted = _with(_content(text), path, value)
    return _verified(_set(text, path, value), wanted, f"write {_said(path)}: {json.dumps(value, default=str)}")


def without(text: str, path: Path) -> str:
    """The text without the key, or the entry of a list, at a path. A holder of only this item is then empty.

    Raises:
        WsError: it is not there, or the file is written in a way that this cannot edit.
    """
    wanted = _without(_content(text), path)
    place = _find(text, path)
    edited = _removed(text, place) if place else text
    return _verified(edited, wanted, f"remove {_said(path)}")


def with_list(text: str, path: tuple[str, ...], values: Sequence[str]) -> str:
    """The text in which a list of texts has these values; without it, where there are none. Entries that stay keep
    their lines, and so what is written beside and above them.

    Raises:
        WsError: the file is written in a way that this cannot edit.
    """
    content, place = _content(text), _find(text, path)
    if not values:
        return without(text, path) if place else text
    if place and isinstance(place.node, yaml.SequenceNode) and not place.node.flow_style and place.node.value:
        wanted = _with(content, path, list(values))
        edited = _relisted(text, place.node, list(values))
        return _verified(edited, wanted, f"write {_said(path)}: {json.dumps(list(values))}")
    return with_value(text, path, list(values))


def _content(text: str) -> Any:  # noqa: ANN401 - what YAML holds
    return parse_yaml(text) or {}


@functools.lru_cache(maxsize=2)
def _composed(text: str) -> yaml.Node | None:
    """The positions of everything in a text. Uses libyaml for large files; its marks are the same."""
    with no_garbage_collection():
        return yaml.compose(text, SafeLoader if len(text) > LARGE else yaml.SafeLoader)


def _verified(edited: str, wanted: object, by_hand: str) -> str:
    try:
        right = _content(edited) == wanted
    except InvalidYamlError:
        right = False
    if not right:
        raise WsError(f"the stack file is written in a form that cannot be edited here. In an editor, {by_hand}")
    return edited


def _said(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _with(content: Any, path: Path, value: object) -> Any:  # noqa: ANN401
    """The intended content of the file."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        entries = list(content) if isinstance(content, list) else []
        if (content is not None and not isinstance(content, list)) or step > len(entries):
            there = f"a list of {len(entries)}" if isinstance(content, list) else "no list"
            raise WsError(f"there is no entry {step} to set: there is {there}, and entries count from 0.")
        return [
            *entries[:step],
            _with(entries[step] if step < len(entries) else None, rest, value),
            *entries[step + 1 :],
        ]
    if content is not None and not isinstance(content, dict):
        raise WsError(f"{step} cannot be set: what is above it is not a mapping of keys.")
    return {**(content or {}), step: _with((content or {}).get(step), rest, value)}


def _without(content: Any, path: Path) -> Any:  # noqa: ANN401
    step, rest = path[0], path[1:]
    there = isinstance(step, int) if isinstance(content, list) else isinstance(content, dict)
    try:
        inner = content[step] if there else None
    except (KeyError, IndexError):
        there = False
    if not there:
        raise WsError(f"{_said(path)} is not set.")
    copy = content.copy()
    if rest:
        copy[step] = _without(inner, rest)
    else:
        del copy[step]
    return copy


def _find(text: str, path: Path) -> _Place | None:
    """The position of the value at a path."""
    node = _composed(text)
    key: yaml.Node | None = None
    place = None
    for step in path:
        pair = _entry(node, step)
        if pair is None or node is None:
            return None
        place = _Place(holder=node, holders_key=key, key=pair[0], node=pair[1])
        key, node = pair
    return place


def _entry(node: yaml.Node | None, step: Step) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode) and isinstance(step, str):
        return next((pair for pair in node.value if pair[0].value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None


def _set(text: str, path: Path, value: object) -> str:
    depth = next((depth for depth in range(len(path), 0, -1) if _find(text, path[:depth])), 0)
    rest = path[depth:]
    place = _find(text, path[:depth]) if depth else None
    if place and not rest:
        return _overwritten(text, place, _flow(value))
    node = place.node if place else _composed(text)
    if isinstance(node, yaml.CollectionNode) and (node.value or node.flow_style):
        return _inserted(text, node, rest, value)
    if place is None:  # an empty file
        return f"{_ended(text)}{_block(rest, value, 0)}"
    on_one_line = isinstance(place.holder, yaml.CollectionNode) and place.holder.flow_style  # between brackets
    if place.key and place.key.start_mark.line == place.node.start_mark.line and _all_keys(rest) and not on_one_line:
        below = _block(rest, value, place.key.start_mark.column + 2)
        return _after(_overwritten(text, place, ""), place.key.end_mark.line, below)
    return _overwritten(text, place, _flow(_nested(rest, value)))


def _all_keys(path: Path) -> bool:
    return not any(isinstance(step, int) for step in path)


def _nested(path: Path, value: object) -> object:
    """The value, nested in its keys."""
    for step in reversed(path):
        value = [value] if isinstance(step, int) else {step: value}
    return value


def _inserted(text: str, holder: yaml.CollectionNode, path: Path, value: object) -> str:
    """Inserts a new key, or a new last entry of a list."""
    step = path[0]
    inner = _nested(path[1:], value)
    if holder.flow_style:
        at = holder.end_mark.index - 1
        comma = ", " if holder.value else ""
        entry = _flow(inner) if isinstance(step, int) else _flow({step: inner})[1:-1]
        return f"{text[:at].rstrip()}{comma}{entry}{text[at:]}"
    if isinstance(step, int):
        column = text.splitlines()[holder.value[0].start_mark.line].index("-")
        return _after(text, _last_line(holder), f"{' ' * column}- {_flow(inner)}\n")
    column = holder.value[0][0].start_mark.column
    lines = _block(path, value, column) if _all_keys(path) else _block(path[:1], inner, column)
    return _after(text, _last_line(holder), lines)


def _overwritten(text: str, place: _Place, new: str) -> str:
    """Replaces a value, in the lines of the old one."""
    node, key = place.node, place.key
    start, end = node.start_mark.index, node.end_mark.index
    literal = getattr(node, "style", None) in ("|", ">")
    block = literal or not getattr(node, "flow_style", True)
    if not block and start != end:
        return text[:start] + new + text[end:]
    if key is None:
        return f"{text[:start]}{new}\n{text[_line(text, _last_line(node) + 1) :]}"
    start = key.end_mark.index + 1  # the value begins where the colon ends
    if not block:
        return f"{text[:start]}{_spaced(new)}{text[start:]}"
    comment = "\n" if literal else text[start : _line(text, key.end_mark.line + 1)]
    return f"{text[:start]}{_spaced(new)}{comment}{text[_line(text, _last_line(node) + 1) :]}"


def _spaced(value: str) -> str:
    return f" {value}" if value else ""


def _relisted(text: str, node: yaml.SequenceNode, values: list[str]) -> str:
    """Replaces the entries of a list."""
    left = list(values)
    column = text.splitlines()[node.value[0].start_mark.line].index("-")
    more = _last_line(node)
    edits: list[tuple[int, int, str]] = []  # from, to, instead
    for item in node.value:
        name = name_of(str(item.value))
        same = item.value if item.value in left else next((value for value in left if name_of(value) == name), None)
        if same is None:
            begin, end = _line(text, item.start_mark.line), _line(text, _last_line(item) + 1)
            edits.append((begin, end, ""))
        else:
            left.remove(same)
            if same != item.value:
                edits.append((item.start_mark.index, item.end_mark.index, _flow(same)))
    text = _after(text, more, "".join(f"{' ' * column}- {_flow(value)}\n" for value in left))
    for begin, end, instead in reversed(edits):
        text = text[:begin] + instead + text[end:]
    return text


def _removed(text: str, place: _Place) -> str:
    """Removes a key or an entry; a holder of only this item becomes an explicit empty value."""
    holder = place.holder
    assert isinstance(holder, yaml.CollectionNode)  # noqa: S101 - where something was found
    entries = [entry if isinstance(entry, tuple) else (entry, entry) for entry in holder.value]
    position = next(index for index, (_, node) in enumerate(entries) if node is place.node)
    first = entries[position][0]
    if holder.flow_style:
        begin, end = first.start_mark.index, place.node.end_mark.index
        if position + 1 < len(entries):
            end = entries[position + 1][0].start_mark.index
        elif position:
            begin = entries[position - 1][1].end_mark.index
        return text[:begin] + text[end:]
    node = place.node
    last = _last_line(node) if node.start_mark.index != node.end_mark.index else first.end_mark.line
    gone = text[: _line(text, first.start_mark.line)] + text[_line(text, last + 1) :]
    if len(holder.value) == 1 and place.holders_key is not None:
        at = place.holders_key.end_mark.index + 1
        empty = "{}" if isinstance(holder, yaml.MappingNode) else "[]"
        gone = f"{gone[:at]} {empty}{gone[at:]}"
    return gone


def _last_line(node: yaml.Node) -> int:
    """The line on which a node's own text ends; text that follows, such as comments, belongs to no node."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        key, value = last if isinstance(last, tuple) else (last, last)
        return max(_last_line(value), int(key.end_mark.line)) if value is not key else _last_line(value)
    end = node.end_mark
    below = end.column == 0 and end.line > node.start_mark.line  # of a text in several lines: the next thing's
    return int(end.line - 1 if below else end.line)


def _block(path: Path, value: object, column: int) -> str:
    """Lines for keys and the value below them; a list of plain values is written as one entry a line."""
    lines = [f"{' ' * (column + 2 * depth)}{_key(step)}:\n" for depth, step in enumerate(path)]
    if isinstance(value, list) and value and not any(isinstance(entry, list | dict) for entry in value):
        return "".join([*lines, *(f"{' ' * (column + 2 * len(path))}- {_flow(entry)}\n" for entry in value)])
    return "".join([*lines[:-1], f"{lines[-1][:-1]} {_flow(value)}\n"])


def _key(step: Step) -> str:
    return step if isinstance(step, str) and re.fullmatch(r"[A-Za-z][\w:-]*\w", step, re.ASCII) else _flow(step)


def _flow(value: object) -> str:
    """A value on one line, valid in a block as well as between brackets."""
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value)
    shown = dump_yaml([value], default_flow_style=True, width=2**30, allow_unicode=True)
    return shown.strip()[1:-1]


def _after(text: str, line: int, more: str) -> str:
    at = _line(text, line + 1)
    return f"{_ended(text[:at])}{more}{text[at:]}" if more else text


def _line(text: str, number: int) -> int:
    """The index at which a line begins."""
    return len("".join(text.splitlines(keepends=True)[:number]))


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
