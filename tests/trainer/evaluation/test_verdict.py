"""Scores, verdicts and the suggestion, from numbers alone."""

import pytest

from trainer.evaluation.verdict import Cell, choose_best, judge_checkpoints


def make_cell(step, weight, closed, structure, **others):
    values = {"style": 1.0, "damage": 0.0, "copies": 0, "images": 8} | others
    return Cell(
        step=step, weight=weight, closed=closed, content=structure, outlines=structure, **values
    )


def test_the_score_is_a_product_of_style_structure_damage_and_copies():
    cell = Cell(10, 1.0, 1.0, 0.6, 0.5, 0.7, 0.25, 2, 8)
    assert cell.structure == pytest.approx(0.7)
    assert cell.score == pytest.approx(0.6 * 0.7**2 * 0.75 * 0.75)


def test_a_negative_cosine_counts_as_none():
    assert make_cell(1, 1.0, 1.0, -0.5).score == 0
    assert Cell(1, 1.0, 1.0, 1.0, -1.0, 0.8, 0.0, 0, 8).structure == 0.8
    assert Cell(1, 1.0, 1.0, 1.0, 0.9, 0.8, 0.0, 0, 8).structure == 0.9


def test_the_best_cell_is_chosen_and_of_equals_the_one_whose_weight_is_nearest_1():
    cells = [
        make_cell(10, 1.0, 0.3, 0.9),
        make_cell(20, 1.0, 0.55, 0.89),  # 0.436, within 5 % of the best
        make_cell(20, 0.5, 0.70, 0.80),  # 0.448, the best
        make_cell(20, 1.25, 0.80, 0.60),
    ]
    assert [(c.step, c.weight) for c in [choose_best(cells)]] == [(20, 1.0)]
    cells[1] = make_cell(20, 1.0, 0.53, 0.89)  # 0.420, not within 5 %
    assert [(c.step, c.weight) for c in [choose_best(cells)]] == [(20, 0.5)]


def test_of_one_weight_the_best_score_is_chosen():
    cells = [make_cell(10, 1.0, 0.50, 0.9), make_cell(20, 1.0, 0.51, 0.9)]
    assert choose_best(cells).step == 20


def test_no_cells_are_an_error():
    with pytest.raises(ValueError, match="empty"):
        choose_best([])


def test_early_checkpoints_are_under_trained_and_late_ones_over_trained():
    cells = [
        make_cell(10, 1.0, 0.10, 0.95),
        make_cell(20, 1.0, 0.60, 0.80),
        make_cell(40, 1.0, 0.70, 0.40),
    ]
    early, middle, late = judge_checkpoints(cells)
    assert [early.verdict, middle.verdict, late.verdict] == [
        "under-trained",
        "good",
        "over-trained",
    ]
    assert "10% of the style is closed, there 60%" in early.evidence
    assert "40% of the structure remains, there 80%" in late.evidence
    assert "step 20 scores 0.38" in late.evidence


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ([make_cell(10, 0.5, 0.6, 0.9), make_cell(10, 1.0, 0.7, 0.5)], "over-trained"),
        ([make_cell(10, 1.0, 0.3, 0.9), make_cell(10, 1.25, 0.6, 0.8)], "under-trained"),
        ([make_cell(10, 0.5, 0.3, 0.9), make_cell(10, 1.0, 0.6, 0.8)], "good"),
    ],
)
def test_one_checkpoint_is_judged_by_its_weights(cells, verdict):
    (only,) = judge_checkpoints(cells)
    assert only.verdict == verdict


def test_a_difference_of_less_than_a_tenth_is_no_verdict():
    cells = [make_cell(10, 1.0, 0.58, 0.8), make_cell(20, 1.0, 0.60, 0.8)]
    assert {each.verdict for each in judge_checkpoints(cells)} == {"good"}
