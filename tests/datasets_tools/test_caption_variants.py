"""What changes in a caption each time it is shown."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_tools.caption_variants import (
    CaptionVariation,
    choose_alternatives,
    vary_caption,
)

words = st.text(alphabet="abcxyzäß", min_size=1, max_size=4)
PROSE = "A cat ,sitting  on {a|the} mat,|||, really."


def vary_often(caption, variation, times=2000):
    rng = random.Random(1)
    return [vary_caption(caption, variation, rng) for _ in range(times)]


def test_without_a_setting_a_caption_stays_as_it_is():
    assert vary_caption(PROSE, CaptionVariation(), random.Random(0)) == PROSE
    assert not CaptionVariation(separator="|||", keep=3).changes
    assert vary_caption("a,b", CaptionVariation(separator="|||"), random.Random(0)) == "a,b"


@given(st.lists(words), st.integers(-1, 10), st.randoms(use_true_random=False))
def test_shuffled_tags_keep_the_first_and_lose_none(tags, keep, rng):
    variation = CaptionVariation(shuffle=True, keep=keep)
    shown = [tag for tag in vary_caption(",".join(tags), variation, rng).split(", ") if tag]
    assert sorted(shown) == sorted(tags)
    assert shown[: max(keep, 0)] == tags[: max(keep, 0)]


def test_shuffle_follows_its_seed_and_gives_every_order_equally_often():
    variation = CaptionVariation(shuffle=True, keep=1)
    first, again = (vary_caption("a, b, c, d, e", variation, random.Random(3)) for _ in range(2))
    assert first == again
    shown = Counter(vary_often("a, b, c, d", variation, 6000))
    assert set(shown) == {", ".join(["a", *rest]) for rest in itertools.permutations("bcd")}
    assert min(shown.values()) > 850  # 1,000 each; 5 standard deviations are 144
    assert max(shown.values()) < 1150


def test_each_tag_is_left_out_by_itself_at_its_rate():
    variation = CaptionVariation(tag_dropout=0.25, keep=1)
    shown = [caption.split(", ") for caption in vary_often("a, b, c", variation, 4000)]
    assert all(tags[0] == "a" for tags in shown)
    sets = Counter(tuple(tags) for tags in shown)
    # 0.75², 0.75 × 0.25 twice, 0.25²: of two tags that fall out independently.
    expected = {("a", "b", "c"): 2250, ("a", "b"): 750, ("a", "c"): 750, ("a",): 250}
    assert set(sets) == set(expected)
    for tags, count in expected.items():
        assert abs(sets[tags] - count) < 5 * (count * (1 - count / 4000)) ** 0.5


def test_protected_tags_are_never_left_out_and_change_nothing_else():
    free = CaptionVariation(tag_dropout=0.5, keep=0)
    guarded = CaptionVariation(tag_dropout=0.5, keep=0, protected=frozenset({"red hair"}))
    without = vary_often("a, Red Hair, red hair bow, b", free)
    guarded_ones = vary_often("a, Red Hair, red hair bow, b", guarded)
    assert any("Red Hair" not in caption for caption in without)
    assert all("Red Hair" in caption.split(", ") for caption in guarded_ones)
    assert any("red hair bow" not in caption for caption in guarded_ones)
    pairs = zip(without, guarded_ones, strict=True)
    assert all(set(a.split(", ")) - {""} | {"Red Hair"} == set(b.split(", ")) for a, b in pairs)


@pytest.mark.parametrize(
    ("caption", "first", "last"),
    [
        ("m, cat ||| b, c, d", ["m", "cat"], []),
        ("m, cat, ||| b, c, d, ||| best", ["m", "cat"], ["best"]),
        ("||| b, c, d ||| x ||| y", [], ["x", "y"]),
        ("b, c, d", ["b"], []),
    ],
)
def test_a_separator_divides_what_is_kept_from_what_is_varied(caption, first, last):
    shown = vary_often(caption, CaptionVariation(shuffle=True, separator="|||"), 200)
    for tags in (caption.split(", ") for caption in shown):
        assert tags[: len(first)] == first
        assert last == (tags[-len(last) :] if last else [])
        assert sorted(tags) == sorted({"b", "c", "d", *first, *last})
    assert len(set(shown)) == (2 if first == ["b"] else 6)
    fixed = vary_caption(caption, CaptionVariation(separator="|||"), random.Random(0))
    assert fixed == ", ".join(dict.fromkeys([*first, "b", "c", "d", *last]))


def test_alternatives_are_chosen_equally_often_and_may_be_nested_or_empty():
    rng = random.Random(5)
    shown = Counter(choose_alternatives("a {red|blue {big|small}|} cat", rng) for _ in range(6000))
    expected = {"a red cat": 2000, "a blue big cat": 1000, "a blue small cat": 1000, "a cat": 2000}
    assert set(shown) == set(expected)
    assert all(abs(shown[text] - count) < 200 for text, count in expected.items())


@pytest.mark.parametrize("caption", ["{a} b", "a | b", "{", "}{", "{a}|{b}", "a {b"])
def test_braces_without_a_choice_stay(caption):
    assert choose_alternatives(caption, random.Random(0)) == caption


@given(st.text(alphabet="{}|ab ,", max_size=60), st.randoms(use_true_random=False))
def test_any_caption_ends_in_one_without_alternatives(caption, rng):
    shown = choose_alternatives(caption, rng)
    assert choose_alternatives(shown, rng) == shown
