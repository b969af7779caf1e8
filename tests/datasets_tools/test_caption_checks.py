"""Each check of captions finds its fault, names the images and leaves sound captions alone."""

from pathlib import Path

import pytest

from datasets_tools.checks import captions as checks
from datasets_tools.checks.subject import Subject
from datasets_tools.examples import Example

SOUND = ["zorp, a cat on a sofa", "zorp, a cat in the snow", "zorp, standing, outdoors, red scarf"]


def run(find, captions, **options):
    examples = [
        Example(Path(f"{at}.png"), text, 512, 512, f"{at}") for at, text in enumerate(captions)
    ]
    subject = Subject(examples, [None] * len(examples), [], **{"trigger": "zorp", **options})
    return list(find(subject))


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.code)
def test_sound_captions_are_left_alone(check):
    assert run(check.find, SOUND * 3, goal="style") == []


@pytest.mark.parametrize(
    ("find", "captions", "images"),
    [
        (checks.find_missing, [*SOUND, "", ""], (3, 4)),
        (checks.find_identical, ["zorp"] * 3, ()),
        (checks.find_trigger_missing, [*SOUND, "a zorpian cat"], (3,)),
        (checks.find_trigger_repeated, [*SOUND, "Zorp, a cat like zorp"], (3,)),
        (checks.find_long, [*SOUND, "word " * 76], (3,)),
        (checks.find_common, [f"zorp, cat, {n}" for n in range(5)], ()),
        (checks.find_contradictions, [*SOUND, "zorp, long hair, short hair"], (3,)),
    ],
)
def test_fault_is_found_with_its_images(find, captions, images):
    (found,) = run(find, captions)
    assert found.images == images
    assert found.message.endswith(".")


def test_unreadable_caption_is_not_a_missing_one():
    assert run(checks.find_missing, ["", "x"], unreadable=frozenset({0})) == []


@pytest.mark.parametrize(
    ("caption", "pieces"),
    [("a red cat, 12", 6), ("it's 3.5 m", 6), ("", 0), ("word " * 75, 75), ("日本", 1)],
)
def test_pieces_are_counted_as_the_tokenizer_splits(caption, pieces):
    assert checks.count_pieces(caption) == pieces


def test_limit_of_a_chunk_is_75():
    assert run(checks.find_long, ["word " * 75]) == []


def test_two_people_may_have_what_one_cannot():
    both = "zorp, 1girl, 1boy, long hair, short hair"
    assert run(checks.find_contradictions, [both]) == []
    assert run(checks.find_contradictions, ["zorp, a man standing beside a sitting dog"]) == []
    assert len(run(checks.find_contradictions, ["solo, 2girls, smile"])) == 1


def test_style_is_only_looked_for_where_a_style_is_learned():
    captions = [*SOUND, "zorp, a watercolor of a cat"]
    assert run(checks.find_style_named, captions) == []
    (found,) = run(checks.find_style_named, captions, goal="style")
    assert found.images == (3,)
    assert "watercolor" in found.message


def test_common_tag_needs_a_trigger_and_different_captions():
    assert run(checks.find_common, [f"zorp, cat, {n}" for n in range(5)], trigger="") == []
    assert run(checks.find_common, ["zorp, cat"] * 5) == []
    assert "“cat”" in run(checks.find_common, [f"zorp, cat, {n}" for n in range(5)])[0].message
