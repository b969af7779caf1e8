"""The grammar of captions and the list of training pictures."""

import random
import re

import pytest
from recipe.captions import SIZE_WORDS, caption_pair, caption_single, name_subject, prompt_for
from recipe.colours import COLOURS
from recipe.examples import KINDS, LAYOUTS, list_examples, load_table, make_table, save_table
from recipe.packages import SETS
from recipe.settings import PRESETS, SMOKE, DataSettings

DATA = SMOKE.data
PHRASES = "|".join(icon_set.phrase for icon_set in SETS.values() if icon_set.phrase)
GRAMMAR = re.compile(
    r"(?P<subject>.+?)"
    rf"(, (?P<style>{PHRASES}))?"
    rf"(,? on an? (?P<colour>{'|'.join(COLOURS)}) background)?"
)


@pytest.fixture(scope="module")
def examples(icons):
    return list_examples(icons, DATA, seed=0)


@pytest.fixture(scope="module")
def table(icons):
    return make_table(icons, DATA, seed=0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("owl", "an owl"),
        ("cat-face", "a cat face"),
        ("glasses", "glasses"),
        ("bus", "a bus"),
        ("small-compass", "a small compass"),
        ("octopus", "an octopus"),
    ],
)
def test_name_is_said_with_its_article(name, said):
    assert name_subject(name) == said


def test_no_picture_shows_a_held_out_concept_or_a_measured_set(icons, examples):
    shown = {icons[index] for each in examples for index in (each.first, each.second)}
    assert not any(icon.held_out or icon.style == "openmoji" for icon in shown)
    held_out = {icon.concept for icon in icons if icon.held_out}
    assert held_out
    assert not held_out & {icon.concept for icon in shown}


def test_every_usable_drawing_is_shown_plain_and_on_every_colour(icons, examples):
    usable = {i for i, icon in enumerate(icons) if not icon.held_out and icon.style != "openmoji"}
    plain = [each.first for each in examples if each.kind == "plain"]
    assert sorted(plain) == sorted(usable)
    coloured = {(each.first, each.colour) for each in examples if each.kind == "coloured"}
    assert coloured == {(i, colour) for i in usable for colour in COLOURS if colour != "white"}


def test_examples_are_grouped_by_kind_and_layout(table):
    places = [(int(k), int(lay)) for k, lay in zip(table.kinds, table.layouts, strict=True)]
    changes = [
        pair for before, pair in zip([None, *places], places, strict=False) if before != pair
    ]
    assert len(changes) == len(set(changes))
    assert [KINDS[kind] for kind in sorted(set(table.kinds.tolist()))] == list(KINDS)


def test_captions_say_what_the_picture_shows(icons, table):
    colours = list(COLOURS)
    for row, numbers in enumerate(table.wordings):
        left, right = (icons[index] for index in table.drawings[row])
        for caption in (table.captions[number] for number in numbers):
            said = GRAMMAR.fullmatch(caption)
            assert said, caption
            assert said["style"] in (None, SETS[left.style].phrase)
            colour = colours[table.grounds[row]]
            assert said["colour"] == colour or (colour == "white" and not said["colour"])
            for icon in {left, right}:
                names = (icon.name, *icon.synonyms)
                assert any(name.replace("-", " ") in said["subject"] for name in names), caption
            size = LAYOUTS[table.layouts[row]]
            if size in SIZE_WORDS:
                assert any(f" {word} " in f" {said['subject']} " for word in SIZE_WORDS[size])
                assert left.name != "small-airplane"


def test_captions_of_pairs_name_the_left_object_first(icons, table):
    rows = [row for row, kind in enumerate(table.kinds) if KINDS[kind] == "pair"]
    assert len(rows) == DATA.pairs
    for row in rows:
        left, right = (icons[index] for index in table.drawings[row])
        assert left.style == right.style
        for number in table.wordings[row]:
            caption = table.captions[number]
            place = {
                icon.name: max(
                    caption.find(name.replace("-", " ")) for name in (icon.name, *icon.synonyms)
                )
                for icon in (left, right)
            }
            assert 0 <= place[left.name] < place[right.name], caption


def test_synonyms_styles_and_white_are_said_sometimes(icons):
    hammer = next(icon for icon in icons if icon.name == "hammer" and icon.style == "noto")
    captions = [caption_single(hammer, "", "white", random.Random(i)) for i in range(400)]
    shares = {
        word: sum(word in caption for caption in captions) / len(captions)
        for word in ("tool", "noto style", "white background", "an emoji of", "a drawing of")
    }
    assert 0.2 < shares["tool"] < 0.4
    assert 0.65 < shares["noto style"] < 0.85
    assert 0.03 < shares["white background"] < 0.2
    assert shares["an emoji of"] > 0.1
    assert shares["a drawing of"] > 0.1


def test_pairs_are_worded_in_every_way(icons):
    left, right = icons[0], icons[1]
    captions = {caption_pair(left, right, "blue", random.Random(i)) for i in range(200)}
    assert all("on a blue background" in caption for caption in captions)
    for words in (" and ", " next to ", " on the left and ", "on the right"):
        assert any(words in caption for caption in captions)


def test_prompts_are_captions():
    assert prompt_for("owl") == "an owl"
    prompt = prompt_for("cat-face", "noto", "orange")
    assert prompt == "a cat face, noto style, on an orange background"
    assert GRAMMAR.fullmatch(prompt)


def test_table_is_the_same_for_the_same_seed_only(icons, table, tmp_path):
    again, other = make_table(icons, DATA, seed=0), make_table(icons, DATA, seed=1)
    assert again.captions == table.captions
    assert (again.drawings == table.drawings).all()
    assert other.captions != table.captions
    save_table(tmp_path, table)
    loaded = load_table(tmp_path)
    assert loaded.captions == table.captions
    assert (loaded.wordings == table.wordings).all()


def test_one_set_without_pairs_is_no_error(icons):
    only = [icon for icon in icons if icon.style == "noto" and not icon.held_out][:1]
    examples = list_examples(only, DataSettings(("noto",), (), pairs=5), seed=0)
    assert {each.kind for each in examples} == {"plain", "coloured", "sized"}


def test_every_style_of_the_full_preset_has_a_phrase_and_measured_ones_have_none():
    data = PRESETS["full"].data
    phrases = [SETS[style].phrase for style in data.styles]
    assert all(phrases)
    assert len(set(phrases)) == len(phrases)
    assert not any(SETS[style].phrase for style in data.measured_styles)
    assert not set(data.styles) & set(data.measured_styles)
