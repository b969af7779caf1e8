"""The settings of merging and the like: declared once, checked before anything is opened."""

import pytest

from trainer.combine import MERGES
from trainer.config import (
    COMBINE_OPTIONS,
    ConfigError,
    ExtractOptions,
    MergeOptions,
    RankChoice,
    ResizeOptions,
    ScaleOptions,
    get_used_with,
    make_options,
)


@pytest.mark.parametrize(
    ("model", "values", "sentences"),
    [
        (MergeOptions, {"method": "magic"}, ["method: 'magic' is not allowed; choose 'svd', "]),
        (MergeOptions, {"density": 0.0, "rank": -1}, ["density: must be greater than 0", "rank: "]),
        (MergeOptions, {"energy": 95}, ["energy: must be less than or equal to 1, but is 95"]),
        (MergeOptions, {"rank": 2.5, "precision": "fp8"}, ["rank: must be a valid int", "fp8"]),
        (MergeOptions, {"dense": 0.3}, ["dense: unknown setting; did you mean density?"]),
        (ResizeOptions, {}, ["Give the rank to keep"]),
        (ResizeOptions, {"ratio": 0.5}, ["ratio: must be 1 or more, or 0 to keep all, but is 0.5"]),
        (ExtractOptions, {"rank": 4}, ["base_model: ", "tuned_model: "]),
        (ScaleOptions, {}, ["Nothing changes"]),
        (ScaleOptions, {"patterns": ["unet.*"]}, ["“unet.*” is no PATTERN=FACTOR"]),
        (ScaleOptions, {"patterns": ["--force=1"]}, ["is no PATTERN=FACTOR"]),
        (ScaleOptions, {"patterns": ["unet.*=1-1"]}, ["is no PATTERN=FACTOR"]),
        (ScaleOptions, {"patterns": ["unet.*=1e999"]}, ["is no PATTERN=FACTOR"]),
        (ScaleOptions, {"up_blocks": 3.0}, ["up_blocks: must be less than or equal to 2"]),
    ],
)
def test_all_that_is_wrong_is_said_at_once(model, values, sentences):
    with pytest.raises(ConfigError) as caught:
        make_options(model, values)
    assert [one for one in sentences if one not in str(caught.value)] == []


def test_methods_of_the_options_are_those_that_exist():
    assert set(MergeOptions.model_fields["method"].annotation.__args__) == set(MERGES)


def test_a_setting_is_used_where_the_method_has_it():
    always = {"method", "rank", "energy", "signs", "precision", "base_model"}
    for method, extra in {
        "svd": set(),
        "ties": {"density", "majority_sign"},
        "dare_linear": {"density", "seed"},
        "dare_ties": {"density", "majority_sign", "seed"},
    }.items():
        assert set(MergeOptions(method=method).list_used()) == always | extra


def test_what_others_decide_is_declared_before_it():
    for model in COMBINE_OPTIONS.values():
        names = list(model.model_fields)
        for name, field in model.model_fields.items():
            assert all(names.index(one) < names.index(name) for one in get_used_with(field))


def test_settings_in_use_become_arguments():
    options = MergeOptions(method="dare_ties", density=0.3, seed=4, signs=True)
    assert options.to_arguments() == [
        "--method=dare_ties", "--rank=0", "--energy=1", "--density=0.3", "--majority-sign=total",
        "--seed=4", "--signs", "--precision=fp16",
    ]  # fmt: skip
    scaled = ScaleOptions(patterns=["a.*=0.5 b.*=2"], text_encoder=0.0)
    assert scaled.to_arguments()[:2] == ["a.*=0.5", "b.*=2"]
    assert "--text-encoder=0" in scaled.to_arguments()


def test_the_first_pattern_that_matches_decides_before_blocks():
    options = ScaleOptions(patterns=["unet.up_blocks.1.*=0.5"], up_blocks=1.5, text_encoder=0.0)
    assert options.list_factors() == [
        ("unet.up_blocks.1.*", 0.5), ("unet.up_blocks.*", 1.5), ("text_encoder*", 0.0)
    ]  # fmt: skip


def test_convolutions_take_the_rank_of_the_others_unless_they_have_their_own():
    assert RankChoice(rank=8).limit_of(wide=True) == 8
    assert RankChoice(rank=8, conv_rank=2).limit_of(wide=True) == 2
    assert RankChoice(rank=8, conv_rank=2).limit_of(wide=False) == 8
