"""Measuring a cell: the images of a checkpoint at a weight, against training and base images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from trainer.evaluation.copies import CopyRuler, Nearest, make_copy_ruler
from trainer.evaluation.damage import Damage, DamageRuler
from trainer.evaluation.features import Describe
from trainer.evaluation.histograms import Array
from trainer.evaluation.structure import compare_rows, describe_content, describe_outlines
from trainer.evaluation.style import close_distance, make_ruler
from trainer.evaluation.verdict import Cell


@dataclass(frozen=True)
class MeasuredCell:
    """A cell with the parts of its damage, and the nearest training image of each image.

    Attributes:
        cell: What the score is made of.
        damage: By kind.
        nearest: Per image.
    """

    cell: Cell
    damage: Damage
    nearest: list[Nearest]

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers but the nearest images, for JSON."""
        cell = self.cell
        numbers = asdict(cell) | asdict(self.damage)
        numbers |= {"structure": cell.structure, "score": cell.score}
        return {key: _round(value) for key, value in numbers.items()}


class CellRuler:
    """Measures cells.

    Args:
        training: The training images, as the base model's VAE shows them.
        held_out: Images of the dataset that were not trained on; may be empty.
        base: The base model's images of the prompts.
        encode: Returns the latents of images, [images, C, h, w].
        describe: Returns what copies are recognised by, a row per image.
    """

    def __init__(
        self,
        training: Sequence[Image.Image],
        held_out: Sequence[Image.Image],
        base: Sequence[Image.Image],
        encode: Any,
        describe: Describe,
    ) -> None:
        self._encode, self._describe = encode, describe
        self._style = make_ruler(training)
        self._damage = DamageRuler(training, base)
        self.base_style = self._style.measure(base)
        self._content = describe_content(encode(base))
        self._outlines = describe_outlines(base)
        known = describe(training)
        self._centre = known.mean(axis=0)
        strangers = [self._place(images) for images in (held_out, base) if images]
        self.copies: CopyRuler = make_copy_ruler(known - self._centre, strangers)

    def measure(self, step: int, weight: float, images: Sequence[Image.Image]) -> MeasuredCell:
        """Returns the measures of a checkpoint's images at a weight, in the prompts' order."""
        style = self._style.measure(images)
        content = compare_rows(describe_content(self._encode(images)), self._content)
        outlines = compare_rows(describe_outlines(images), self._outlines)
        damage = self._damage.measure(images)
        nearest = self.copies.find(self._place(images))
        cell = Cell(
            step=step,
            weight=weight,
            style=style,
            closed=close_distance(style, self.base_style),
            content=float(content.mean()),
            outlines=float(outlines.mean()),
            damage=damage.total,
            copies=sum(each.likeness > self.copies.threshold for each in nearest),
            images=len(images),
        )
        return MeasuredCell(cell, damage, nearest)

    def _place(self, images: Sequence[Image.Image]) -> Array:
        """Relative to the training images' mean: what all share, as a white ground, is no copy."""
        rows: Array = self._describe(images) - self._centre
        return rows


def _round(value: float) -> float:
    return round(value, 4) if isinstance(value, float) else value
