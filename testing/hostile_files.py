"""Files that no careful hand wrote: mutated, truncated, of wrong types, hostile. For tests of what reads them."""

import os
import re

import yaml
from hypothesis import reject, settings
from hypothesis import strategies as st

from testing.strategies import ANYTHING, TEXT

EXAMPLES = int(os.environ.get("INPUT_EXAMPLES", "300"))
SHORT = EXAMPLES <= 300
# The short form tries the same files each time; the long form others each time, and hypothesis prints what failed.
FORM = settings(max_examples=EXAMPLES, derandomize=SHORT, deadline=None, database=None)

# What is put in place of a scalar, or anywhere.
SNIPPETS = (
    b"010",
    b"0o17",
    b"12:30",
    b"1_000",
    b"1:30.5",
    b"0x" + b"f" * 5000,
    b"9" * 5000,
    b"1e999",
    b".nan",
    b"-.inf",
    b"yes",
    b"~",
    b"",
    b"true",
    "\u0663".encode(),
    '"\u202e"'.encode(),
    b'"\\e[31mx"',
    b'"a\\0b"',
    b'"\\ud800"',
    b"\xed\xa0\x80",
    b"\x00",
    b"\x1b[2J",
    b"\x9b",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\t",
    b"\r\n",
    b"\r",
    "\u2028".encode(),
    "\x85".encode(),
    b"[" * 2000,
    b"{a: " * 100,
    b"- " * 200,
    b"&a [*a]",
    b"&a {x: *a}",
    b"*nowhere",
    b"<<: *a",
    b"? [a, b]\n: c",
    b"!!python/object/apply:os.system [id]",
    b"!!binary aGk=",
    b"!!set {a, b}",
    b"!!int 12:30",
    b"!x y",
    b"---\n",
    b"...\n",
    b"%YAML 9.9\n---\n",
    b"2001-13-01",
    b"2001-01-01",
    b"'" + b"[" * 100000 + b"'",
    b"'" + b'{"a":' * 900 + b"1" + b"}" * 900 + b"'",
    b'\'{"redis": {"env": {"A": "\\ud800"}}}\'',
    b'\'{"redis": {"port": NaN}}\'',
    b"|\n  a\n",
    b">-\n  a\n",
    b"{secure: v1:a:b}",
    b"{secure: [1]}",
    b"/dev/zero",
    b"/proc/self/mem",
    b"../no-such-folder/cluster.yaml",
    b"a" * 5000,
    b"x: &a [1,1]\ny: &b [*a,*a,*a,*a]\nz: [*b,*b,*b]",
)
# Each level ten times the one below: 10^9 values if they were written out.
BILLION = b"a: &a0 [x]\n" + b"".join(
    b"b%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)
)
SCALAR = re.compile(rb"[^\s:{}\[\],#]+")


@st.composite
def broken(draw: st.DrawFn, files: tuple[bytes, ...]) -> bytes:
    """One of some valid files, with a few changes to its bytes."""
    text = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(1, 3))):
        change = draw(st.sampled_from(("scalar", "scalar", "insert", "cut", "twice", "swap", "encode", "long")))
        if change == "scalar":
            if scalars := [*SCALAR.finditer(text)]:
                found = draw(st.sampled_from(scalars))
                text = text[: found.start()] + draw(st.sampled_from(SNIPPETS)) + text[found.end() :]
            continue
        at = draw(st.integers(0, max(len(text) - 1, 0)))
        if change == "insert":
            text = text[:at] + draw(st.sampled_from(SNIPPETS) | st.binary(max_size=6)) + text[at:]
        elif change == "cut":
            text = text[:at]
        elif change == "twice":
            text += text[at:]
        elif change == "swap":
            text = text[at:] + text[:at]
        elif change == "encode":
            text = text.decode(errors="replace").encode(
                draw(st.sampled_from(("utf-16", "utf-32", "utf-8-sig", "utf-7")))
            )
        else:
            text += BILLION
    return text


@st.composite
def strange(draw: st.DrawFn, files: tuple[bytes, ...]) -> bytes:
    """One of some valid files, in which values are of other types and keys are others."""
    content = yaml.safe_load(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 3))):
        node = content
        while isinstance(node, dict) and (keys := [key for key in node if isinstance(key, str)]):
            key = draw(st.sampled_from(keys))
            inner = node[key]
            if isinstance(inner, dict) and inner and draw(st.integers(0, 3)):
                node = inner
                continue
            node.pop(key)
            node[draw(st.just(key) | TEXT)] = draw(ANYTHING)
            break
    try:
        dumped: str = yaml.dump(content, allow_unicode=draw(st.booleans()), default_flow_style=draw(st.booleans()))
    except ValueError:  # an integer that Python prints in no more than 4300 digits
        reject()
    return dumped.encode("utf-8", "surrogatepass")


def hostile(*files: bytes) -> st.SearchStrategy[bytes]:
    """A file that began as one of these."""
    return st.one_of(broken(files), strange(files), st.binary(max_size=40))
