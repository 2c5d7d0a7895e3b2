"""Values that a file keeps when another becomes the first."""

from ws.secrets.rotating import FORMER, former


def test_the_newest_come_first_and_few_are_kept(tmp_path):
    file = tmp_path / "key"
    assert former(file) == ()
    file.write_text("present")
    assert former(file) == ["present"]
    file.write_text("\n".join(map(str, range(FORMER + 5))))
    assert former(file) == [str(number) for number in range(FORMER)]
