"""Edits lists in a stack file and leaves every other character of it alone: comments, order, quotes, indentation.

A YAML library tells where things are; what changes is the text. What comes out is read again, and must say what it
should.
"""

import json
from collections.abc import Sequence
from typing import Any

import yaml

from images.packages_lock import name_of
from ws.errors import WsError

Path = tuple[str, ...]
Pair = tuple[yaml.Node, yaml.Node]


def with_list(text: str, path: Path, values: Sequence[str]) -> str:
    """The text of a file of mappings, in which a list of texts has these values; without it, where there are none.

    Raises:
        WsError: the file is written in a way that this cannot edit.
    """
    wanted = _expected(yaml.safe_load(text) or {}, path, list(values))
    edited = _edit(text, path, list(values))
    try:
        right = (yaml.safe_load(edited) or {}) == wanted
    except yaml.YAMLError:
        right = False
    if not right:
        raise WsError(
            f"the stack file is written in a way that cannot be edited here. Write {'.'.join(path)} yourself: "
            f"{json.dumps(list(values))}"
        )
    return edited


def _expected(content: Any, path: Path, values: list[str]) -> Any:  # noqa: ANN401 - what YAML holds
    """What the file should say afterwards."""
    step, rest = path[0], path[1:]
    copy = dict(content or {})
    if rest:
        if values or copy.get(step):
            copy[step] = _expected(copy.get(step), rest, values)
    elif values:
        copy[step] = values
    else:
        copy.pop(step, None)
    return copy


def _edit(text: str, path: Path, values: list[str]) -> str:
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None:
        return f"{_ended(text)}{_block(path, values, 0)}" if values else text
    mapping, key = root, None
    for depth, step in enumerate(path):
        if not isinstance(mapping, yaml.MappingNode):
            break
        found = next((pair for pair in mapping.value if pair[0].value == step), None)
        if found is None:
            return _inserted(text, mapping, path[depth:], values) if values else text
        if depth == len(path) - 1:
            return _replaced(text, found, values) if values else _removed(text, mapping, key, found)
        key, mapping = found
    if not values or key is None:
        return text
    # A key without a value.
    rest, column = path[depth:], key.start_mark.column
    return _after(text, key.end_mark.line, _block(rest, values, column + 2))


def _inserted(text: str, mapping: yaml.MappingNode, path: Path, values: list[str]) -> str:
    """A key that was not there."""
    if mapping.flow_style:
        at = mapping.start_mark.index + 1
        inner = json.dumps(values)
        for step in reversed(path[1:]):
            inner = f"{{{step}: {inner}}}"
        return f"{text[:at]}{path[0]}: {inner}{', ' if mapping.value else ''}{text[at:]}"
    return _after(text, _last_line(mapping), _block(path, values, mapping.value[0][0].start_mark.column))


def _replaced(text: str, pair: Pair, values: list[str]) -> str:
    """Other items. Those that stay keep their lines, and so what is written beside and above them."""
    key, node = pair
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not node.value:
        start, end = node.start_mark.index, node.end_mark.index
        space = " " if start == key.end_mark.index + 1 else ""
        return f"{text[:start]}{space}{json.dumps(values)}{text[end:]}"
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
                edits.append((item.start_mark.index, item.end_mark.index, _scalar(same)))
    text = _after(text, more, "".join(f"{' ' * column}- {_scalar(value)}\n" for value in left))
    for begin, end, instead in reversed(edits):
        text = text[:begin] + instead + text[end:]
    return text


def _removed(text: str, mapping: yaml.MappingNode, above: yaml.Node | None, pair: Pair) -> str:
    """Without a key; a mapping that is empty then says so."""
    key, node = pair
    if mapping.flow_style:
        position = next(index for index, found in enumerate(mapping.value) if found[0] is key)
        begin, end = key.start_mark.index, node.end_mark.index
        if position + 1 < len(mapping.value):
            end = mapping.value[position + 1][0].start_mark.index
        elif position:
            begin = mapping.value[position - 1][1].end_mark.index
        return text[:begin] + text[end:]
    end = _last_line(node) if node.start_mark.index != node.end_mark.index else key.end_mark.line
    without = text[: _line(text, key.start_mark.line)] + text[_line(text, end + 1) :]
    if len(mapping.value) == 1 and above is not None:
        at = above.end_mark.index + 1
        without = f"{without[:at]} {{}}{without[at:]}"
    return without


def _last_line(node: yaml.Node) -> int:
    """The line that a node's own text ends on; what follows, such as comments, belongs to nobody."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        key, value = last if isinstance(last, tuple) else (last, last)
        return max(_last_line(value), int(key.end_mark.line)) if value is not key else _last_line(value)
    end = node.end_mark
    below = end.column == 0 and end.line > node.start_mark.line  # of a text in several lines: the next thing's
    return int(end.line - 1 if below else end.line)


def _block(path: Path, values: list[str], column: int) -> str:
    lines = [f"{' ' * (column + 2 * depth)}{step}:\n" for depth, step in enumerate(path)]
    return "".join(lines) + "".join(f"{' ' * (column + 2 * len(path))}- {_scalar(value)}\n" for value in values)


def _scalar(value: str) -> str:
    return yaml.safe_dump(value, width=2**16, allow_unicode=True).splitlines()[0]


def _after(text: str, line: int, more: str) -> str:
    at = _line(text, line + 1)
    return f"{_ended(text[:at])}{more}{text[at:]}" if more else text


def _line(text: str, number: int) -> int:
    """Where a line begins."""
    return len("".join(text.splitlines(keepends=True)[:number]))


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
