"""The picture of imports between folders."""

import pytest

from docs.tooling import import_graph


@pytest.mark.skipif(not import_graph.PICTURE.exists(), reason="not drawn yet")
def test_picture_is_what_the_code_gives():
    drawn = import_graph.picture(import_graph.imports())
    assert import_graph.PICTURE.read_text() == drawn, "run: python -m docs.tooling.import_graph"


class TestGraph:
    def test_folder_is_above_all_that_it_imports(self):
        assert import_graph.levels({"a": ["b", "c"], "b": ["c"], "c": []}) == {"a": 2, "b": 1, "c": 0}

    def test_circle_is_an_error(self):
        with pytest.raises(ValueError, match="import each other: a → b → a"):
            import_graph.levels({"a": ["b"], "b": ["a"]})

    def test_arrow_that_follows_from_others_is_left_out(self):
        assert import_graph.essential({"a": ["b", "c"], "b": ["c"], "c": []}) == {"a": ["b"], "b": ["c"], "c": []}
