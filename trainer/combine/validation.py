"""Validating a file before it is written: whether other programs will read it correctly."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.combine.delta import Shape
from trainer.combine.errors import CombineError
from trainer.combine.outputs import AdapterWriter, Plan, PlannedLayer, choose_alphas
from trainer.combine.target_model import TargetModel
from trainer.export import name_layers
from trainer.files.read.family import FamilyGuess
from trainer.files.read.keys import PART_ENDINGS, group_keys
from trainer.files.verify import judge
from trainer.files.verify.facts import FileFacts
from trainer.files.verify.findings import Finding
from trainer.formats.header import TensorEntry, TensorFile
from trainer.formats.precision import BY_PRECISION
from trainer.formats.spellings import parse_names

FindingsCallback = Callable[[list[Finding]], None]
# Shapes by layer and part.
Parts = Mapping[str, Mapping[str, Shape]]
# Rules about bytes that do not exist yet.
_LATER = {"hashes", "finite"}


@dataclass(frozen=True)
class OutputValidator:
    """Reports what `verify` will find about a file, and rejects what should not be written.

    Attributes:
        path: Of the file.
        target_model: The model that it is for.
        precision: Its number format.
        force: Whether to write it even if some program would misread it.
        on_findings: Called with the findings.
    """

    path: Path
    target_model: TargetModel
    precision: str
    force: bool = False
    on_findings: FindingsCallback | None = None

    def validate_plan(self, plan: Plan, metadata: Mapping[str, str]) -> None:
        """Validates the planned layers, before anything is computed.

        Raises:
            CombineError: some program would misread it, and `force` is not set.
        """
        parts = {layer: _plan_parts(planned) for layer, planned in plan.items()}
        self._validate(parts, choose_alphas(plan), metadata)

    def validate_written(self, writer: AdapterWriter, metadata: Mapping[str, str]) -> None:
        """Validates the layers that were written to the temporary file.

        Raises:
            CombineError: as `validate_plan`; the file is not written then.
        """
        self._validate(writer.shapes, writer.alphas, metadata)

    def _validate(
        self, parts: Parts, alphas: Mapping[str, float], metadata: Mapping[str, str]
    ) -> None:
        findings = collect_findings(self, parts, alphas, metadata)
        if self.on_findings is not None:
            self.on_findings(findings)
        reject_errors(self.path, findings, self.force)


def collect_findings(
    validator: OutputValidator,
    parts: Parts,
    alphas: Mapping[str, float],
    metadata: Mapping[str, str],
) -> list[Finding]:
    """Returns what `verify` will find about a file that is not written yet.

    Args:
        validator: Its path, and for which model.
        parts: Its layers.
        alphas: One per model.
        metadata: Its header.
    """
    target_model = validator.target_model
    names = name_layers(parts, target_model.family, target_model.unet_names)
    shapes = {
        f"{names[layer]}.{PART_ENDINGS.get(part, part)}": shape
        for layer, layer_parts in parts.items()
        for part, shape in layer_parts.items()
    }
    dtype = BY_PRECISION[validator.precision].code
    entries = {key: TensorEntry(dtype, shape, 0, 0) for key, shape in shapes.items()}
    groups, _ = group_keys(shapes)
    spelled = {name: layer for layer, name in names.items()}
    facts = FileFacts(
        header=TensorFile(validator.path, entries, dict(metadata), 0),
        shapes=shapes,
        groups=groups,
        kohya=list(groups),
        unknown_keys=[],
        guess=FamilyGuess(target_model.family, certain=True),
        layers=spelled,
        expected=target_model.shapes,
        alphas={
            name: alphas[layer.partition(".")[0]]
            for name, layer in spelled.items()
            if layer.partition(".")[0] in alphas
        },
        digest="",
        broken=[],
        parsed=parse_names(groups, target_model.unet_names),
    )
    return [finding for finding in judge(facts) if finding.rule not in _LATER]


def reject_errors(path: Path, findings: Iterable[Finding], force: bool) -> None:
    """Rejects a file that some program would misread.

    Raises:
        CombineError: with what would be wrong.
    """
    errors = [finding.to_line() for finding in findings if finding.severity == "error"]
    if errors and not force:
        msg = (
            f"{path.name} would not be read correctly by every program. {' '.join(errors)} "
            "Give --force to write it anyway."
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
