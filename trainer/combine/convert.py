"""Giving the layers of an adapter file the names of another program; what they do stays equal."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from datasets_tools.files import explain_write_error, write_aside
from trainer.combine.conversion import (
    TARGETS,
    convert_parts,
    join_key,
    name_converted,
    restore_axes,
)
from trainer.combine.delta import Shape
from trainer.combine.errors import CombineError
from trainer.combine.headers import count_network, describe_derived
from trainer.combine.merge import Progress
from trainer.combine.outputs import check_output, check_precision
from trainer.combine.proof import prove_equal
from trainer.combine.sources import Source, collect_words, open_sources
from trainer.combine.stream import TensorStream
from trainer.combine.target_model import TargetModel, open_base, read_target_model
from trainer.combine.validation import FindingsCallback
from trainer.export import FileModule, order_vectors, write_embedding
from trainer.export.files import cast_weight
from trainer.files.read import open_header
from trainer.files.read.family import read_rank
from trainer.files.read.keys import VECTOR_KINDS
from trainer.files.read.kinds import describe_kind
from trainer.files.verify import verify_file
from trainer.files.verify.facts import BaseLayers
from trainer.formats.precision import PRECISIONS, name_precision

# A length of DoRA is that of a whole weight, of which the delta is a small share.
_EXACT_PARTS = {"alpha", "dora_scale", "on_input"}
# What the person chose with the names themselves.
_CHOSEN = {"format", "blocks", "text_prefix"}
_SETTINGS = "lorasmith.config"  # of the run that made the file, which a conversion does not change


@dataclass
class Conversion:
    """What was converted.

    Attributes:
        layers: How many.
        embeddings: Files of embeddings that were bundled with the layers, and are now beside them.
    """

    layers: int = 0
    embeddings: list[str] = field(default_factory=list)


def convert_file(
    path: Path,
    target: str,
    to: Path,
    *,
    precision: str = "",
    base_model: Path | None = None,
    force: bool = False,
    on_findings: FindingsCallback | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Writes an adapter file with the names of another program.

    Args:
        path: A file of any spelling.
        target: A key of `TARGETS`.
        to: The file to write.
        precision: Its number format; "" for that of most weights.
        base_model: One that the file fits; models of unusual size may need it.
        force: Replaces an existing file, and writes even what programs would misread.
        on_findings: Called with what `verify` finds about the result.
        progress: Called with how many layers are done, and of how many.

    Raises:
        CombineError, ExportError, ModelError: with what to do; nothing is written then.
    """
    if target not in TARGETS:
        msg = f"The format {target!r} is unknown. Choose one of {', '.join(TARGETS)}."
        raise CombineError(msg)
    precision = precision or _find_precision(path)
    check_precision(precision)
    check_output(to, force)
    target_model = read_target_model([path], open_base(base_model))
    with _write_aside(to) as aside, open_sources([path], target_model) as (source,):
        _check_kinds(source, target)
        words = collect_words([source])
        names = name_converted(source.path, source.file.groups, target, target_model)
        alphas = _choose_alphas(source)
        header = _describe(source, to, target_model, target, alphas)
        with TensorStream(aside) as stream:
            writer = _Writer(stream, target, names, precision, alphas, target_model.shapes)
            for done, layer in enumerate(source.file.groups):
                writer.add(layer, source.file.read(layer))
                if progress is not None:
                    progress(done + 1, len(source.file.groups))
            if TARGETS[target].holds_words:
                writer.add_words(words)
            stream.finish(header)
        prove_equal(source, aside, target_model, precision)
        _validate(path, aside, target_model, force=force, on_findings=on_findings)
    split = {} if TARGETS[target].holds_words else words
    return Conversion(len(names), _write_words(path, to, split, header))


@contextlib.contextmanager
def _write_aside(to: Path) -> Iterator[Path]:
    """Yields where to write the file: one that is refused must not replace what is there."""
    try:
        with write_aside(to) as aside:
            yield aside
    except OSError as error:
        raise CombineError(explain_write_error(to, error)) from error


@dataclass
class _Writer:
    """Writes layers under their new names."""

    stream: TensorStream
    target: str
    names: Mapping[str, str]
    precision: str
    alphas: Mapping[str, float]
    shapes: Mapping[str, Shape]

    def add(self, layer: str, module: FileModule) -> None:
        """Writes a layer."""
        alpha = None if TARGETS[self.target].spelling.peft else self.alphas[layer.partition(".")[0]]
        module = restore_axes(module, self.shapes.get(layer, ()))
        for part, value in convert_parts(module, alpha, self.precision).items():
            exact = "fp32" if part in _EXACT_PARTS else self.precision
            key = join_key(self.target, self.names[layer], part)
            self.stream.add(key, cast_weight(layer, value, exact))

    def add_words(self, words: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Writes bundled embeddings as they are."""
        for word, parts in words.items():
            for part, value in parts.items():
                self.stream.add(f"bundle_emb.{word}.{part}", value)


def _check_kinds(source: Source, target: str) -> None:
    """Rejects kinds that the format has no names for."""
    if not TARGETS[target].spelling.peft:
        return
    groups = source.file.groups.values()
    for group in groups:
        plain = group.kind == "lora" and set(group.keys).isdisjoint({"diff_b"})
        if not plain:
            what = (
                f"changes the bias of {group.spelling}"
                if group.kind == "lora"
                else describe_kind(group.kind, groups)
            )
        elif group.has_magnitude and not _is_dora_of_paper(source, group.keys):
            what = f"holds {group.spelling} as DoRA per input channel"
        else:
            continue
        remedy = (
            ""
            if group.kind in VECTOR_KINDS or "diff_b" in group.keys
            else (", or make it plain LoRA first, with lorasmith resize")
        )
        msg = (
            f"{source.path.name} {what}, and the format {target} holds plain LoRA only. Convert "
            f"it to kohya, omi or comfyui{remedy}."
        )
        raise CombineError(msg)


def _is_dora_of_paper(source: Source, keys: Mapping[str, str]) -> bool:
    if "magnitude" in keys:
        return True
    shapes = source.file.shapes
    return shapes[keys["dora_scale"]][0] == shapes[keys["lora_up.weight"]][0] > 1


def _choose_alphas(source: Source) -> dict[str, float]:
    """Returns one alpha per model: that of most of its layers, so that most need no folding."""
    counts: dict[str, Counter[float]] = {}
    for layer in source.file.groups:
        # An alpha of 0 means "no effect" to some programs and "the rank" to others.
        alpha = abs(source.file.read_alpha(layer)) or 1.0
        counts.setdefault(layer.partition(".")[0], Counter())[alpha] += 1
    return {model: count.most_common(1)[0][0] for model, count in counts.items()}


def _find_precision(path: Path) -> str:
    """Returns the number format of most weights, or the next one that files are written in."""
    sizes: Counter[str] = Counter()
    for entry in open_header(path).tensors.values():
        sizes[name_precision(entry.dtype)] += entry.end - entry.start
    most = sizes.most_common(1)[0][0] if sizes else "fp16"
    return most if most in PRECISIONS else "fp16" if most.startswith("F8") else "fp32"


def _describe(
    source: Source, to: Path, target_model: TargetModel, target: str, alphas: Mapping[str, float]
) -> dict[str, str]:
    file = source.file
    ranks = {layer: read_rank(group, file.shapes) for layer, group in file.groups.items()}
    sizes = [
        (rank, alphas[layer.partition(".")[0]], len(target_model.shapes.get(layer, ())) > 2)
        for layer, rank in ranks.items()
        if rank
    ]
    kinds = ["dora" if group.has_magnitude else group.kind for group in file.groups.values()]
    how = {"command": "convert", "to": target}
    header = describe_derived(
        to.stem, file.metadata, target_model.family, count_network(sizes, kinds), how
    )
    if _SETTINGS in file.metadata:
        header[_SETTINGS] = file.metadata[_SETTINGS]
    return header | TARGETS[target].describe(ranks, dora="dora" in kinds)


def _validate(
    path: Path,
    to: Path,
    target_model: TargetModel,
    *,
    force: bool,
    on_findings: FindingsCallback | None,
) -> None:
    """Rejects a result that programs would misread where they read the file itself as meant."""
    base = None
    if target_model.base is not None:
        base = BaseLayers(target_model.shapes, target_model.unet_names)
    findings = verify_file(to, base)
    if on_findings is not None:
        on_findings(findings)
    new = [each for each in findings if each.severity == "error" and each.rule not in _CHOSEN]
    if new:  # an error of the file itself is not one of the conversion
        known = {each.rule for each in verify_file(path, base)}
        new = [each for each in new if each.rule not in known]
    if new and not force:
        lines = " ".join(each.to_line() for each in new)
        msg = (
            f"{to.name} would not be read correctly by every program. {lines} "
            "Give --force to write it anyway."
        )
        raise CombineError(msg)


def _write_words(
    path: Path, to: Path, words: Mapping[str, Mapping[str, Tensor]], header: Mapping[str, str]
) -> list[str]:
    """Writes bundled embeddings beside a file that cannot hold them; returns their paths."""
    written = []
    for word, parts in words.items():
        vectors = order_vectors(parts)
        if vectors is None:
            msg = (
                f"{path.name} bundles the embedding “{word}” with the parts "
                f"{', '.join(sorted(parts))}, which no file of an embedding holds. Convert it to "
                "kohya or omi."
            )
            raise CombineError(msg)
        written.append(str(write_embedding(to, word, vectors, header)))
    return written
