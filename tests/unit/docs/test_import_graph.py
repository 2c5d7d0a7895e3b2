"""The picture of imports between folders."""

from docs.tooling import import_graph


def test_picture_is_what_the_code_gives():
    drawn = import_graph.picture(import_graph.imports())
    assert import_graph.PICTURE.read_text() == drawn, "run: python -m docs.tooling.import_graph"


def test_every_folder_has_its_row():
    assert set(import_graph.folders()) <= set(import_graph.LEVEL)


class TestGraph:
    def test_import_that_follows_from_others_is_left_out(self):
        graph = {"stack": ["config", "images"], "config": ["images"], "images": []}
        assert import_graph.essential(graph) == [("config", "images"), ("stack", "config")]

    def test_import_that_does_not_go_down_is_found(self):
        graph = {"stack": ["config"], "config": ["stack"], "images": ["docker_api"], "docker_api": []}
        assert import_graph.upward(graph) == [("config", "stack"), ("images", "docker_api")]
