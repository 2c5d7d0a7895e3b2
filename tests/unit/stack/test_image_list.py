"""The list of signed images: what it looks like, and that a text of another form is refused."""

import pytest

from stack.image_list import ImageList, ListError, SignedImage, parse, repository

DIGEST = f"sha256:{'a' * 64}"
ONE = SignedImage(DIGEST, "registry.test:5000/cslr/health:0.2.0", "linux/amd64")
BOTH = SignedImage(DIGEST, "registry.test:5000/cslr/ml:x", "linux/amd64,linux/arm64")
LIST = ImageList(registry="registry.test:5000/cslr", made="2026-11-29T15:40:12Z", images=(BOTH, ONE, ONE))
TEXT = f"""cslr-images 1
registry registry.test:5000/cslr
made 2026-11-29T15:40:12Z

{DIGEST} registry.test:5000/cslr/health:0.2.0 linux/amd64
{DIGEST} registry.test:5000/cslr/ml:x linux/amd64,linux/arm64
"""


def test_is_sorted_text_that_is_read_again():
    assert LIST.text() == TEXT
    read = parse(TEXT)
    assert (read.registry, set(read.images)) == (LIST.registry, {ONE, BOTH})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with"),
        (TEXT.replace("images 1", "images 2"), "does not begin with"),
        (TEXT.replace("registry registry.test:5000/cslr\n", ""), "does not name its registry"),
        (TEXT.replace("made 2026", "made 20266"), "does not name its registry"),
        (TEXT.replace(DIGEST, DIGEST[:-1]), "in line 5"),
        (TEXT.replace(" linux/amd64,", " linux,"), "in line 6"),
        (f"{TEXT}\n", "in line 7"),
        (TEXT.replace("health:0.2.0", "health"), "in line 5"),
    ],
)
def test_of_another_form_is_refused(text, reason):
    with pytest.raises(ListError, match=reason):
        parse(text)


@pytest.mark.parametrize(
    "reference", ["r.test:5000/a/b", "r.test:5000/a/b:1", f"r.test:5000/a/b@{DIGEST}", f"r.test:5000/a/b:1@{DIGEST}"]
)
def test_an_image_is_in_its_repository_under_every_name(reference):
    assert repository(reference) == "r.test:5000/a/b"


def test_by_digest_names_one_image():
    assert ONE.by_digest == f"registry.test:5000/cslr/health@{DIGEST}"
