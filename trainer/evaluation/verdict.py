"""From the measures of checkpoints at weights to a score, a verdict each, and one suggestion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["under-trained", "good", "over-trained"]

# Chosen on three styles of the benchmark, reported on others (benchmarks/suggestion_styles.py).
_ALIKE = 0.05  # scores that differ by less, as a share, are taken as equal
_CLEARLY = 0.10  # and by more, as different


@dataclass(frozen=True)
class Cell:
    """The measures of a checkpoint at a weight, over all prompts.

    Attributes:
        step: Of the checkpoint.
        weight: Of the adapters.
        style: Distance to the training images.
        closed: Share of the base model's style distance that is closed, 0 .. 1.
        content: Cosine of content to the base model's images, -1 .. 1.
        outlines: Cosine of outlines to the base model's images, -1 .. 1.
        damage: Share of damage, 0 .. 1.
        copies: How many images repeat a training image.
        images: How many images there are.
    """

    step: int
    weight: float
    style: float
    closed: float
    content: float
    outlines: float
    damage: float
    copies: int
    images: int

    @property
    def structure(self) -> float:
        """How much of the base model's image remains: the larger of both cosines, 0 .. 1.

        The larger, because a style that replaces all colours leaves outlines alone, and one that
        replaces outlines leaves coloured areas.
        """
        return max(0.0, self.content, self.outlines)

    @property
    def score(self) -> float:
        """Style closed, times structure squared, times what is not damaged and no copy, 0 .. 1.

        A product, because none makes up for another: an image in perfect style that shows
        something else is worth nothing.
        """
        own = 1 - self.copies / self.images if self.images else 1.0
        return self.closed * self.structure**2 * (1 - self.damage) * own


@dataclass(frozen=True)
class Judgement:
    """The verdict on a checkpoint.

    Attributes:
        step: Of the checkpoint.
        verdict: In a word.
        evidence: In a sentence, with the numbers.
        weight: At which it scores best.
        score: There.
    """

    step: int
    verdict: Verdict
    evidence: str
    weight: float
    score: float


def judge_checkpoints(cells: Sequence[Cell]) -> list[Judgement]:
    """Returns the verdict on each checkpoint, the earliest first.

    Over-trained is a checkpoint that an earlier one clearly surpasses, or that is clearly better
    below the weight of 1; under-trained one that a later one clearly surpasses, or that is clearly
    better above the weight of 1.
    """
    best = {step: choose_best(row) for step, row in _group(cells).items()}
    return [_judge(step, row, best) for step, row in _group(cells).items()]


def choose_best(cells: Sequence[Cell]) -> Cell:
    """Returns the best cell; of those that are nearly alike, that whose weight is nearest 1.

    Few images make scores uncertain by a few per cent, and 1 is the weight that people try first.
    Of one weight the best score counts.

    Raises:
        ValueError: there are none.
    """
    most = max(cell.score for cell in cells)
    alike = [cell for cell in cells if cell.score >= (1 - _ALIKE) * most]
    return min(alike, key=lambda cell: (abs(cell.weight - 1), -cell.score))


def _group(cells: Sequence[Cell]) -> dict[int, list[Cell]]:
    return {
        step: [cell for cell in cells if cell.step == step]
        for step in sorted({cell.step for cell in cells})
    }


def _judge(step: int, row: Sequence[Cell], best: Mapping[int, Cell]) -> Judgement:
    own = best[step]
    verdict: Verdict = "good"
    evidence = f"its score of {own.score:.2f} at weight {own.weight:g} is near the best"
    earlier = [cell for other, cell in best.items() if other < step]
    later = [cell for other, cell in best.items() if other > step]
    full = next((cell for cell in row if cell.weight == 1), None)
    surpassing = [cell for cell in earlier if own.score < (1 - _CLEARLY) * cell.score]
    surpassed = [cell for cell in later if own.score < (1 - _CLEARLY) * cell.score]
    if surpassed and not surpassing:
        other = max(surpassed, key=lambda cell: cell.score)
        verdict = "under-trained"
        evidence = f"step {other.step} scores {other.score:.2f}, this one {own.score:.2f}"
        evidence += f"; {own.closed:.0%} of the style is closed, there {other.closed:.0%}"
    elif surpassing:
        other = max(surpassing, key=lambda cell: cell.score)
        verdict = "over-trained"
        evidence = f"step {other.step} scores {other.score:.2f}, this one {own.score:.2f}"
        evidence += f"; {own.structure:.0%} of the structure remains, there {other.structure:.0%}"
    elif full is not None and full.score < (1 - _CLEARLY) * own.score:
        above = own.weight > 1
        verdict = "under-trained" if above else "over-trained"
        what = (
            f"{full.closed:.0%} of the style is closed, there {own.closed:.0%}"
            if above
            else f"{full.structure:.0%} of the structure remains, there {own.structure:.0%}"
        )
        evidence = f"at weight 1 it scores {full.score:.2f}, at {own.weight:g} {own.score:.2f}"
        evidence += f"; {what}"
    return Judgement(step, verdict, evidence, own.weight, own.score)
