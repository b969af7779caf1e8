"""Saying what programs will make of a file before it is there."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.combine.delta import Shape
from trainer.combine.errors import CombineError
from trainer.combine.outputs import AdapterWriter, Plan, PlannedLayer, choose_alphas
from trainer.combine.target_model import Blueprint
from trainer.export import name_layers
from trainer.files.read.family import FamilyGuess
from trainer.files.read.keys import group_keys
from trainer.files.verify import judge
from trainer.files.verify.facts import FileFacts
from trainer.files.verify.findings import Finding
from trainer.formats.header import TensorEntry, TensorFile

Tell = Callable[[list[Finding]], None]
# Shapes by layer and part.
Parts = Mapping[str, Mapping[str, Shape]]
# About bytes that do not exist yet.
_LATER = {"hashes", "finite"}
_FORMATS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}


@dataclass(frozen=True)
class Foresight:
    """Tells what a check will find about a file, and refuses what should not be written.

    Attributes:
        path: Where it will be.
        blueprint: The model that it is for.
        precision: Its number format.
        force: Whether it is to be written even if some program would stumble over it.
        tell: Called with what a check will find.
    """

    path: Path
    blueprint: Blueprint
    precision: str
    force: bool = False
    tell: Tell | None = None

    def judge_plan(self, plan: Plan, metadata: Mapping[str, str]) -> None:
        """Goes by the layers that are planned, before anything is computed.

        Raises:
            CombineError: some program would stumble over it, and it is not to be forced.
        """
        parts = {layer: _plan_parts(planned) for layer, planned in plan.items()}
        self._judge(parts, choose_alphas(plan), metadata)

    def judge_written(self, writer: AdapterWriter, metadata: Mapping[str, str]) -> None:
        """Goes by the layers that wait to be put in their place.

        Raises:
            CombineError: as `judge_plan`; nothing is put there then.
        """
        self._judge(writer.shapes, writer.alphas, metadata)

    def _judge(
        self, parts: Parts, alphas: Mapping[str, float], metadata: Mapping[str, str]
    ) -> None:
        findings = foresee_findings(self, parts, alphas, metadata)
        if self.tell is not None:
            self.tell(findings)
        refuse_errors(self.path, findings, self.force)


def foresee_findings(
    place: Foresight, parts: Parts, alphas: Mapping[str, float], metadata: Mapping[str, str]
) -> list[Finding]:
    """Returns what a check will find about a file that is not there yet.

    Args:
        place: Where it will be, and for which model.
        parts: Its layers.
        alphas: One per model.
        metadata: Its header.
    """
    blueprint = place.blueprint
    names = name_layers(parts, blueprint.family, blueprint.unet_names)
    shapes = {
        f"{names[layer]}.{part}": shape
        for layer, held in parts.items()
        for part, shape in held.items()
    }
    dtype = _FORMATS[place.precision]
    entries = {key: TensorEntry(dtype, shape, 0, 0) for key, shape in shapes.items()}
    groups, _ = group_keys(shapes)
    spelled = {name: layer for layer, name in names.items()}
    facts = FileFacts(
        header=TensorFile(place.path, entries, dict(metadata), 0),
        shapes=shapes,
        groups=groups,
        kohya=list(groups),
        strangers=[],
        guess=FamilyGuess(blueprint.family, certain=True),
        layers=spelled,
        expected=blueprint.shapes,
        alphas={name: alphas[layer.partition(".")[0]] for name, layer in spelled.items()},
        digest="",
        broken=[],
    )
    return [finding for finding in judge(facts) if finding.rule not in _LATER]


def refuse_errors(path: Path, findings: Iterable[Finding], force: bool) -> None:
    """Refuses to write what some program would stumble over.

    Raises:
        CombineError: with what would be wrong.
    """
    errors = [finding.to_line() for finding in findings if finding.severity == "error"]
    if errors and not force:
        msg = (
            f"{path.name} would not be read rightly everywhere. {' '.join(errors)} "
            "Give --force to write it all the same."
        )
        raise CombineError(msg)


def _plan_parts(planned: PlannedLayer) -> dict[str, Shape]:
    """Returns the shapes of a LoRA's tensors."""
    point = (1,) * (len(planned.shape) - 2)
    return {
        "lora_down.weight": (planned.rank, *planned.shape[1:]),
        "lora_up.weight": (planned.shape[0], planned.rank, *point),
        "alpha": (),
    }
