"""Prompt syntax in captions is found and removed, and nothing that only looks like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_tools.examples import scan_folder
from datasets_tools.prompt_syntax import (
    change_by_cleaning,
    clean_prompt_syntax,
    find_prompt_syntax,
)
from datasets_tools.rewriting import rewrite_all, undo_rewriting


@pytest.mark.parametrize(
    ("caption", "kinds", "clean"),
    [
        ("(masterpiece:1.3), [[ball]], ((red))", ["weights"], "masterpiece, ball, red"),
        ("((a (red:1.2) ball:0.5)), x", ["weights"], "(a red ball), x"),
        ("a {red|blue} ball", ["choices"], "a red ball"),
        ("a {|blue} ball", ["choices"], "a blue ball"),
        ("a [cat|dog], x", ["choices"], "a cat, x"),
        ("__color__, ball, __a/b-c__", ["wildcards"], "ball"),
        ("a ball, <lora:foo:0.8>", ["names of networks"], "a ball"),
        ("<LoRA:a b:1>, <hypernet:x>", ["names of networks"], ""),
        ("[red:blue:0.5] ball", ["prompt editing"], "blue ball"),
        ("[red:blue ball:10]", ["prompt editing"], "blue ball"),
        ("ball, BREAK, red AND blue", ["keywords"], "ball, red, blue"),
        ("mytrig ||| ball, red", ["separators"], "mytrig, ball, red"),
        (r"ball \(toy\), red \[x\]", ["escaped brackets"], "ball (toy), red [x]"),
        (r"saber \(fate\), (smile:1.1)", ["weights", "escaped brackets"], "saber (fate), smile"),
        ("{{cat}}", ["weights"], "cat"),
        (
            "a {red|blue} ball, __color__, <lora:foo:0.8>",
            ["names of networks", "wildcards", "choices"],
            "a red ball",
        ),
    ],
)
def test_each_kind_is_found_and_removed(caption, kinds, clean):
    assert find_prompt_syntax(caption) == kinds
    assert clean_prompt_syntax(caption) == clean
    assert clean_prompt_syntax(clean) == clean or "(" in clean


@pytest.mark.parametrize(
    "caption",
    [
        "", "a ball, red", "saber (fate)", "a cat (black and white)", "[sic]", "rock AND-roll",
        "Brand, breakfast", "ratio 16:9", "(see fig. 2: left)", "snake_case__name", ":) :d ^_^",
        "_ _", "a|b", "{braces}", "i <3 you", "<b>bold</b>", "time (10:30 in the morning)",
        "(o_o)", "BREAKS", "a ,b,,c", "שלום, ball", "🎈 ||", "__init",
    ],
)  # fmt: skip
def test_plain_captions_are_left_as_they_are(caption):
    assert find_prompt_syntax(caption) == []
    assert clean_prompt_syntax(caption) == caption


@given(st.text(alphabet="ab(){}[]<>:|_,. \\1lora", max_size=40))
def test_cleaning_any_text_ends(caption):
    clean = clean_prompt_syntax(caption)
    assert clean.count("a") <= caption.count("a")
    if "\\" not in caption:
        assert find_prompt_syntax(clean) == []


def test_finding_names_the_images_and_cleaning_can_be_undone(tmp_path, make_image):
    texts = {"a": "(red:1.2) ball", "b": "a ball", "c": "__x__, ball <lora:y:1>"}
    for name, caption in texts.items():
        make_image(f"{name}.png").with_suffix(".txt").write_text(caption)
    (finding,) = scan_folder(tmp_path)[1]
    assert (finding.severity, finding.code) == ("warning", "prompt_syntax")
    for words in ("2 captions have", "weights (a.png)", "wildcards (c.png)", "--clean"):
        assert words in finding.message
    assert rewrite_all(tmp_path, change_by_cleaning()) == 2
    assert [one.caption for one in scan_folder(tmp_path)[0]] == ["red ball", "a ball", "ball"]
    assert scan_folder(tmp_path)[1] == []
    undo_rewriting(tmp_path)
    assert [one.caption for one in scan_folder(tmp_path)[0]] == list(texts.values())
