"""Values for Hypothesis: what YAML, JSON and a careless hand can deliver.

Numbers of any size, dates, lone surrogates, keys of any kind.
"""

from hypothesis import strategies as st

TEXT = st.text(st.characters(), max_size=12)
STRINGS = ["8g", "0:0", "1000:1000", "/", "/tmp", "..", "all", "host", "10.0.0.0/16", "a:b", "http://[", "٣", "1e999"]
NUMBERS = st.one_of(st.booleans(), st.integers(), st.floats(), st.builds(lambda: 10**5000))
SCALARS = st.one_of(st.none(), NUMBERS, TEXT, st.sampled_from(STRINGS), st.dates(), st.binary(max_size=4))
KEYS = st.one_of(st.sampled_from(["enabled", "memory", "port", "volumes", "env", "ray", "[key]"]), TEXT, SCALARS)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
